"""What the state of a container means for Kubernetes' clients: its end, reasons and times. Pure."""

from __future__ import annotations

from typing import Any

from schemas.times import Milliseconds, parse_rfc3339
from services.agent.lifecycle import Exit

_ENDED = ("exited", "dead", "stopped")
NEVER = "0001-01-01T00:00:00Z"


def is_over(state: Any) -> bool:
    """True if the container of this state has run and has ended."""
    return state["Status"] in _ENDED or (not state.get("Running") and has_begun(state))


def has_begun(state: Any) -> bool:
    """True if the container has ever run."""
    return not str(state.get("StartedAt") or NEVER).startswith("0001")


def exit_of(found: Any) -> Exit:
    """Return how a container ended, by what the daemon knows of it (kuberuntime: toKubeContainerStatus)."""
    state = found["State"]
    began, ended = milliseconds_of(state["StartedAt"]), milliseconds_of(state["FinishedAt"])
    code = int(state.get("ExitCode") or 0)
    reason = "OOMKilled" if state.get("OOMKilled") else "Completed" if code == 0 else "Error"
    return Exit(
        code=code,
        signal=0,
        reason=reason,
        message=state.get("Error") or "",
        started_at=began,
        finished_at=max(
            began, ended
        ),  # the daemon may learn of a short run's end before it notes the beginning
        container_id=f"docker://{found['Id']}",
    )


def lost_exit(container: str, now: Milliseconds) -> Exit:
    """Return the end of a container that somebody has removed."""
    message = "the container was removed, and with it how the program ended"
    return Exit(137, 0, "ContainerStatusUnknown", message, now, now, f"docker://{container}")


def milliseconds_of(at: str) -> Milliseconds:
    """Return a time as the daemon writes it, with up to nine digits of a second; 0 for never."""
    return 0 if at.startswith("0001") else parse_rfc3339(at)
