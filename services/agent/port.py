"""What an agent needs of the control plane: what services.agent.remote has over the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.objects import Object
from schemas.positions import Position
from services.headless import Record


class ControlPlane(Protocol):
    """The cluster as a node sees it. Every method may be called from any thread.

    Every method may raise Unavailable (try again later) or LostHistory (what it knew cannot be trusted): an agent
    then holds still, that is, it goes on with what it was told before and stops no pod.
    """

    def log_id(self) -> str:
        """Return what tells this cluster's log from every other."""
        ...

    def register(self, node: Object) -> None:
        """Create the node, or bring labels, capacity, addresses and conditions of an existing one up to date."""
        ...

    def heartbeat(self, node: str) -> None:
        """Say that the node lives. Not history: nothing is appended."""
        ...

    def pods_on(self, node: str) -> list[Object]:
        """Return the pods bound to the node, as of the newest position folded."""
        ...

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        """Return one object (`core/persistentvolumes`, "", "pv-1"), or None."""
        ...

    def node_now(self, name: str) -> Object | None:
        """Return the node's own object as it is now, whatever was told of it last; None where there is none."""
        ...

    def published(self) -> tuple[Record, ...]:
        """Return what the headless services of the cluster publish now."""
        ...

    def addresses_of_others(self, namespace: str, name: str) -> set[str]:
        """Return the addresses known to be in use, those of the pod of this name aside; who shares this machine in
        the same process tells of its own (services.agent.allotments)."""
        ...

    def wait(self, after: Position, timeout: float) -> Position:
        """Block until something newer than `after` was folded or `timeout` seconds are over; return the newest.

        What is returned grows whenever something was learned, and is no older than the newest position.
        """
        ...

    def report(self, pod: Object, status: Object) -> None:
        """Make `status` the status of the pod of this uid; nothing else of it changes. Equal: nothing is appended.

        Raises NotFound where no pod of this name and uid exists.
        """
        ...

    def end_pods(self, pods: Sequence[Object]) -> None:
        """Ask the pods of these uids to end, each within its own grace period; those asked already are left alone."""
        ...

    def confirm_deleted(self, pod: Object) -> None:
        """Remove a terminating pod of this uid for good. Does nothing where it is gone already."""
        ...

    def volumes_to_reclaim(self, node: str) -> Sequence[Object]:
        """Return the volumes of which this node is to remove the data: terminating, held for that, and its own."""
        ...

    def release_volume(self, node: str, volume: Object) -> None:
        """Say that the data of the volume of this uid is removed. Does nothing where that is known already."""
        ...
