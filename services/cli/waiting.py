"""`--wait` and `rollout status`: until a rollout or a deletion is complete, saying what it waits for meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from schemas.errors import ChronosetError, NotFound
from schemas.kinds import DAEMON_SET, STATEFUL_SET
from schemas.objects import Key, Object, split_key, uid_of
from services.cli.session import Session
from services.cli.streams import aside
from services.commands.rollouts import Progress, progress_of
from services.commands.sources import subject_of

POLL_SECONDS = 0.05
_CONTROLLERS = {STATEFUL_SET.resource: "statefulset", DAEMON_SET.resource: "daemonset"}
Look = Callable[[], Progress]


class TimedOut(ChronosetError):
    """What was waited for did not come in time."""

    reason = "Timeout"


def has_rollout(key: Key) -> bool:
    """Say whether an object is of a kind that is rolled out."""
    return split_key(key)[0] in _CONTROLLERS


def wait_for_rollout(session: Session, key: Key, timeout: float) -> str:
    """Wait until a workload is rolled out; return the sentence that says so. Raises TimedOut, NotFound."""
    resource, _, _ = split_key(key)
    uid = uid_of(_present(session, key))

    def look() -> Progress:
        workload = _present(session, key)
        if uid_of(workload) != uid:
            raise NotFound(f"{subject_of(key)} was deleted and made anew while it was waited for")
        progress = progress_of(workload)
        if progress.complete:
            return progress
        found = session.views.waiting().get((_CONTROLLERS[resource], key))
        return Progress(
            False, f"{progress.message}: {found.text}" if found and found.text else progress.message
        )

    return _wait(key, look, timeout)


def wait_for_deletion(session: Session, key: Key, uid: str, timeout: float) -> str:
    """Wait until the object of that uid is gone; return the sentence that says so. Raises TimedOut."""

    def look() -> Progress:
        found = session.views.get(key)
        if found is None or uid_of(found) != uid:
            return Progress(True, "deleted")
        finalizers = ", ".join(found["metadata"].get("finalizers") or ())
        held = f"held by {finalizers}" if finalizers else "until its agent confirms its end"
        return Progress(False, f"waiting for the deletion, {held}")

    return _wait(key, look, timeout)


def _present(session: Session, key: Key) -> Object:
    found = session.views.get(key)
    if found is None:
        raise NotFound(f"{subject_of(key)} not found: it was deleted while it was waited for")
    return found


def _wait(key: Key, look: Look, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    shown = ""
    while not (progress := look()).complete:
        if progress.message != shown:
            shown = progress.message
            aside(f"{key}: {shown}")
        if time.monotonic() > deadline:
            raise TimedOut(f"{subject_of(key)} is not there yet after {timeout:g} s: {progress.message}")
        time.sleep(POLL_SECONDS)
    return progress.message
