"""Names of all keys on the queue's Redis.

They are in one place, and all carry the cluster's hash tag, so that one Lua script may touch several of them and many
clusters can spread over a Redis Cluster. Nothing here is history: the log can rebuild all of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names of one cluster; `cluster` is a DNS label."""

    cluster: str

    def queue(self, name: str) -> str:
        """Stream: the messages of a dramatiq queue that nobody has acknowledged yet."""
        return f"{{{self.cluster}}}:queue:{name}"

    def delayed(self, name: str) -> str:
        """ZSET: encoded messages, scored with the millisecond (server's clock) at which they join the queue."""
        return f"{self.queue(name)}:delayed"

    def dead(self, name: str) -> str:
        """Stream, capped: messages given up, each with its error."""
        return f"{self.queue(name)}:dead"

    @property
    def waiting_marks(self) -> str:
        """Hash: `<controller>/<key>` -> stream id of the message that will bring that key to a worker."""
        return f"{{{self.cluster}}}:hints:waiting"

    @property
    def running(self) -> str:
        """Hash: `<controller>/<key>` -> `<token> <millisecond at which the run's lease ends>`."""
        return f"{{{self.cluster}}}:hints:running"

    @property
    def again(self) -> str:
        """Set: `<controller>/<key>` that became dirty while it was running."""
        return f"{{{self.cluster}}}:hints:again"

    @property
    def timers(self) -> str:
        """ZSET: `<controller>/<key>`, scored with the millisecond at which it wants to be looked at."""
        return f"{{{self.cluster}}}:timers"

    @property
    def sentences(self) -> str:
        """Hash: `<controller>/<key>` -> `<position as a stream id> <what it waits for>`."""
        return f"{{{self.cluster}}}:waiting"

    @property
    def epoch(self) -> str:
        """String: a random value that lives as long as the queue's data."""
        return f"{{{self.cluster}}}:epoch"

    @property
    def since(self) -> str:
        """String: the millisecond (server's clock) from which on the queue has had its data."""
        return f"{{{self.cluster}}}:since"

    def lease(self, name: str) -> str:
        """String with a TTL: `<holder> <token>` of the leader of that name."""
        return f"{{{self.cluster}}}:lease:{name}"

    def heartbeat(self, node: str) -> str:
        """String with a TTL: the millisecond at which the node's agent wrote it."""
        return f"{{{self.cluster}}}:heartbeat:{node}"

    def holder(self, node: str) -> str:
        """String with a TTL: which agent is the node, where it says so (over the API)."""
        return f"{{{self.cluster}}}:holder:{node}"
