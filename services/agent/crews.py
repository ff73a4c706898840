"""The agents of one machine, as a list of names wants them: one is started for a name that comes, and leaves the
cluster with a name that goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.agent.agent import Agent
from services.agent.serving.pods import PodView

PATIENCE = 10.0
"""Seconds that agents have, beyond the grace of their pods, to end."""


class Crew:
    """Used by one thread. `names` returns the nodes that are wanted; `on_end` is called, by an agent's thread, when
    that has ended and its node has not left."""

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        make: Callable[[str], Agent],
        on_end: Callable[[], object],
    ) -> None:
        self._names = names
        self._make = make
        self._on_end = on_end
        self._agents: dict[str, Agent] = {}
        self._leaving: set[str] = set()

    def follow(self) -> None:
        """Start and let go what the list asks for. A name that comes again goes on with its last agent, or
        waits until that has left.

        Raises what making an agent raises.
        """
        for name in [name for name, agent in self._agents.items() if agent.has_left]:
            self._agents.pop(name).join(PATIENCE)
            self._leaving.discard(name)
        names = self._names()
        for name in names:
            if name not in self._agents:
                self._agents[name] = self._started(name)
        self._leaving -= set(names)
        for name in self._agents.keys() - set(names) - self._leaving:
            self._leaving.add(name)
            self._agents[name].leave()

    def view(self, namespace: str, name: str) -> PodView | None:
        """Return a pod of one of these nodes as it is now. Any thread may ask."""
        views = (agent.view(namespace, name) for agent in list(self._agents.values()))
        return next((view for view in views if view), None)

    def failures(self) -> list[Exception]:
        """Return what ended agents that were to go on."""
        return [agent.failure for agent in self._agents.values() if agent.failure]

    def stop(self, pods_grace: float | None) -> None:
        """End all agents: their pods run on, or are ended within `pods_grace` seconds if that is given."""
        for agent in self._agents.values():
            agent.stop(pods_grace)
        for agent in self._agents.values():
            agent.join((pods_grace or 0.0) + PATIENCE)

    def _started(self, name: str) -> Agent:
        agent = self._make(name)
        agent.start(on_end=lambda: None if agent.has_left else self._on_end())
        return agent
