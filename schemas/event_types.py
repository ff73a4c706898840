"""The names of events, from what changed: past tense, the kind first.

A name tells a person what happened; routing needs no more than the key. It decides nothing: the fold goes by `op`.
"""

from __future__ import annotations

from collections.abc import Callable

from schemas.objects import Object, is_terminating

_WORKLOADS = ("StatefulSet", "DaemonSet")


def created_type(kind: str) -> str:
    """Return `PodCreated` for kind `Pod`."""
    return f"{kind}Created"


def deleted_type(kind: str) -> str:
    """Return `PodDeleted` for kind `Pod`."""
    return f"{kind}Deleted"


def changed_type(old: Object, new: Object) -> str:
    """Return the name of the change from `old` to `new`: the most telling one where several things changed."""
    kind = new["kind"]
    if is_terminating(new) and not is_terminating(old):
        return f"{kind}DeletionRequested"
    for asks, name in _TELLING.get(kind, ()):
        if asks(old, new):
            return f"{kind}{name}"
    if old.get("spec") != new.get("spec"):
        return f"{kind}SpecChanged"
    if old.get("status") != new.get("status"):
        return f"{kind}StatusChanged"
    if _without_metadata(old) != _without_metadata(new):
        return f"{kind}Changed"
    return f"{kind}MetadataChanged"


def condition_of(obj: Object, name: str) -> str:
    """Return the status (`True`, `False`, `Unknown`) of a condition; empty where the object has none of that type."""
    for condition in obj.get("status", {}).get("conditions", ()):
        if condition["type"] == name:
            return str(condition["status"])
    return ""


def _without_metadata(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "spec", "status")}


def _spec_moved(*fields: str) -> Callable[[Object, Object], bool]:
    def moved(old: Object, new: Object) -> bool:
        return any(old["spec"].get(field) != new["spec"].get(field) for field in fields)

    return moved


def _became_ready(old: Object, new: Object) -> bool:
    return condition_of(new, "Ready") == "True" != condition_of(old, "Ready")


def _became_not_ready(old: Object, new: Object) -> bool:
    return condition_of(old, "Ready") == "True" != condition_of(new, "Ready")


def _became(phase: str) -> Callable[[Object, Object], bool]:
    def became(old: Object, new: Object) -> bool:
        before, after = old.get("status", {}).get("phase"), new.get("status", {}).get("phase")
        return bool(after == phase != before)

    return became


_TELLING: dict[str, tuple[tuple[Callable[[Object, Object], bool], str], ...]] = {
    **dict.fromkeys(
        _WORKLOADS,
        (
            (_spec_moved("template"), "TemplateChanged"),
            (_spec_moved("replicas", "ordinals"), "Scaled"),
            (_spec_moved("updateStrategy"), "StrategyChanged"),
        ),
    ),
    "Pod": (
        (_spec_moved("nodeName"), "Bound"),
        (_became("Failed"), "Failed"),
        (_became("Succeeded"), "Succeeded"),
        (_became_ready, "Ready"),
        (_became_not_ready, "NotReady"),
    ),
    "Node": ((_became_ready, "Ready"), (_became_not_ready, "NotReady")),
    "PersistentVolumeClaim": ((_spec_moved("volumeName"), "Bound"),),
    "ControllerRevision": ((lambda old, new: old.get("revision") != new.get("revision"), "Renumbered"),),
}
