"""When a probe runs next and what its results mean: a state machine of results in, next state out.

The thresholds and periods are Kubernetes' (pkg/kubelet/prober/worker.go). One rule is ours: a readiness or startup
probe that has not passed yet is repeated after 100 ms doubling to its period, so that a pod that needs 200 ms to
start does not wait a whole period to be Ready. Failures before the first success do not count faster for it: only
one a period is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.objects import Object
from schemas.times import Milliseconds

EAGER_DELAY: Milliseconds = 100


class ProbeKind(StrEnum):
    """Why a container is probed; the value is the container's field without `Probe`."""

    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


@dataclass(frozen=True, slots=True)
class ProbeState:
    """A probe of one run of a container.

    `passing` is the verdict that holds (None until a threshold was reached), `streak` how many equal results came
    in a row and `streak_of` which; `next_at` when to ask again; `running` whether an answer is awaited.
    """

    kind: ProbeKind
    period: Milliseconds
    timeout: Milliseconds
    successes_needed: int
    failures_needed: int
    next_at: Milliseconds
    counted_at: Milliseconds = 0
    streak: int = 0
    streak_of: bool = False
    passing: bool | None = None
    running: bool = False
    eager: Milliseconds = EAGER_DELAY
    message: str = ""


def probe_of(container: Object, kind: ProbeKind, started_at: Milliseconds) -> ProbeState | None:
    """Return the probe of `kind` for a run that began at `started_at`, or None where the container has none."""
    spec = container.get(f"{kind}Probe")
    if not spec:
        return None
    return ProbeState(
        kind=kind,
        period=1000 * int(spec.get("periodSeconds") or 10),
        timeout=1000 * int(spec.get("timeoutSeconds") or 1),
        successes_needed=int(spec.get("successThreshold") or 1),
        failures_needed=int(spec.get("failureThreshold") or 3),
        next_at=started_at + 1000 * int(spec.get("initialDelaySeconds") or 0),
    )


def is_due(probe: ProbeState, now: Milliseconds) -> bool:
    """Return whether the probe should be asked now."""
    return not probe.running and now >= probe.next_at


def with_asked(probe: ProbeState) -> ProbeState:
    """Return the probe while its answer is awaited."""
    return replace(probe, running=True)


def with_result(probe: ProbeState, passed: bool, message: str, now: Milliseconds) -> ProbeState:
    """Return the probe after an answer at `now`: its streak, its verdict and when to ask again."""
    is_early = _is_early(probe, passed, now)
    streak = probe.streak if is_early else (probe.streak + 1 if probe.streak_of == passed else 1)
    needed = probe.successes_needed if passed else probe.failures_needed
    delay = min(probe.eager, probe.period) if _is_eager(probe, passed) else probe.period
    return replace(
        probe,
        running=False,
        streak=streak,
        streak_of=passed,
        passing=passed if streak >= needed else probe.passing,
        counted_at=probe.counted_at if is_early else now,
        next_at=now + delay,
        eager=min(probe.eager * 2, probe.period),
        message=message,
    )


def _is_eager(probe: ProbeState, passed: bool) -> bool:
    return not passed and probe.passing is None and probe.kind is not ProbeKind.LIVENESS


def _is_early(probe: ProbeState, passed: bool, now: Milliseconds) -> bool:
    """Return whether this failure came sooner than a whole period after the last one that counted."""
    return (
        _is_eager(probe, passed)
        and probe.streak > 0
        and not probe.streak_of
        and now - probe.counted_at < probe.period
    )
