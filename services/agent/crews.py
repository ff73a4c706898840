"""The agents of one machine, as a list of names wants them: one is started for a name that comes, and leaves the
cluster with a name that goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from services.agent.agent import Agent
from services.agent.serving.pods import PodView

PATIENCE = 10.0
"""Seconds that agents have, beyond the grace of their pods, to end."""


class Crew:
    """Used by one thread. `names` returns the nodes that are wanted; `on_end` is called, by an agent's thread, when
    that has failed; `on_gone` with the name of a node that has no agent here any more."""

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        make: Callable[[str], Agent],
        on_end: Callable[[], object],
        on_gone: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._names = names
        self._make = make
        self._on_end = on_end
        self._on_gone = on_gone
        self._agents: dict[str, Agent] = {}
        self._idle: list[Agent] = []
        self._leaving: set[str] = set()

    def gather(self) -> None:
        """Make the agents that `follow` starts next, which takes a while. Raises what making an agent raises."""
        self._make_all(self._names())

    def follow(self) -> None:
        """Start and let go what the list asks for. A name that comes again goes on with its last agent, or
        waits until that has left. Agents that come together are all there before the first of them works.

        Raises what making an agent raises.
        """
        for name in [name for name, agent in self._agents.items() if agent.has_left]:
            self._forget(name)
        names = self._names()
        self._make_all(names)
        while self._idle:
            self._start(self._idle.pop())
        self._leaving -= set(names)
        for name in self._agents.keys() - set(names) - self._leaving:
            self._leaving.add(name)
            self._agents[name].leave()

    def rest(self, name: str) -> None:
        """End a node's agent, whose pods run on; `follow` makes another as soon as the name is wanted."""
        self._agents[name].stop()
        self._forget(name)

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

    def _make_all(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._agents:
                self._agents[name] = agent = self._make(name)
                self._idle.append(agent)

    def _start(self, agent: Agent) -> None:
        agent.start(on_end=lambda: self._on_end() if agent.failure else None)

    def _forget(self, name: str) -> None:
        self._agents.pop(name).join(PATIENCE)
        self._leaving.discard(name)
        self._on_gone(name)
