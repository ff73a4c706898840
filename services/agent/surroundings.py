"""What the parts of one agent share: its node, its two sides, the pods in its hands, and its trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ChronosetError
from schemas.times import Milliseconds
from services.agent.messages import Message
from services.agent.networks import UP, Network
from services.agent.nodes import NodeSettings
from services.agent.port import ControlPlane
from services.agent.runtimes.port import Runtime
from services.agent.works import Work

HOLD: Milliseconds = 1_000
"""How long the agent waits before it asks again a control plane that did not answer."""


class Trust:
    """Does what needs the control plane; while that cannot be trusted it holds still, and says so once."""

    def __init__(self, log: Any) -> None:
        self.retry_at: Milliseconds = 0
        self._log = log
        self._holds = False

    def attempt(self, action: Callable[[], object], now: Milliseconds) -> bool:
        """Return whether `action` was done; it is not even begun before `retry_at`."""
        if now < self.retry_at:
            return False
        try:
            action()
        except ChronosetError as error:
            self.retry_at = now + HOLD
            if not self._holds:
                self._log.warning(
                    "holding still: no pod is stopped", error=str(error), kind=type(error).__name__
                )
            self._holds = True
            return False
        if self._holds:
            self._log.info("the control plane is back")
        self._holds = False
        return True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Shared by the loop and its parts. `works` belongs to the loop's thread; `post` may be called from any."""

    settings: NodeSettings
    control_plane: ControlPlane
    runtime: Runtime
    clock: Callable[[], Milliseconds]
    post: Callable[[Message], None]
    log: Any
    trust: Trust
    works: dict[str, Work] = field(default_factory=dict)
    """uid -> pod"""
    network: Callable[[], Network] = lambda: UP
    """The node's network, as it was last seen."""
