"""What a workload's controller cannot do at the moment, as an Event of the workload.

A create that is refused leaves nothing in the log, so no Event follows from it; but people look for it in `describe`.
The worker says in the queue what a key waits for; this reads it there, for one object, when that is asked about.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from schemas.kinds import DAEMON_SET, STATEFUL_SET
from schemas.objects import Key, Object, name_of, namespace_of, split_key, uid_of
from schemas.positions import position_of
from services.api.notices import DAEMONS, SETS, WARNING, Notice, Reference, Said
from services.broker.leases import Heartbeats

_CONTROLLERS: Mapping[str, tuple[str, str]] = {
    STATEFUL_SET.resource: ("statefulset", SETS),
    DAEMON_SET.resource: ("daemonset", DAEMONS),
}
"""The controller of a resource, and the component that its Events are from."""
_TRIED = re.compile(r"(?P<why>.*) \(tried \d+ times\)", re.DOTALL)
_REFUSED_POD = re.compile(r'pods "(?P<name>[^"]+)" is forbidden')
_NUMBER = 9_999
"""Where such a notice stands among those of its position: after all."""


async def troubles_of(heartbeats: Heartbeats | None, subject: Key, obj: Object | None) -> Sequence[Notice]:
    """Return what the controller of an object says it has tried in vain; nothing where all is well, or is not known."""
    found = _CONTROLLERS.get(split_key(subject)[0]) if subject else None
    if heartbeats is None or obj is None or found is None:
        return ()
    controller, component = found
    said = await asyncio.to_thread(heartbeats.sentence, controller, subject)
    position, _, text = said.partition(" ")
    return [_notice(obj, component, position, text)] if _TRIED.fullmatch(text) else ()


def _notice(obj: Object, component: str, position: str, text: str) -> Notice:
    about = Reference(obj["apiVersion"], obj["kind"], namespace_of(obj), name_of(obj), uid_of(obj))
    at = position_of(position)
    reason, message = _told(obj, text)
    return Notice(at, at, _NUMBER, Said(about, WARNING, reason, message, component))


def _told(obj: Object, text: str) -> tuple[str, str]:
    """Return reason and message in the controller's words (stateful_pod_control.go recordPodEvent, pod_control.go)."""
    pod = _REFUSED_POD.match(text)
    if pod is None:
        return "FailedReconcile", text
    if obj["kind"] == STATEFUL_SET.kind:
        return "FailedCreate", f"create Pod {pod['name']} in StatefulSet {name_of(obj)} failed error: {text}"
    return "FailedCreate", f"Error creating: {text}"
