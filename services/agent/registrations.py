"""What a node says of itself beside what others have said of it, and which volumes are its to clear. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.deletion import DATA_FINALIZER
from schemas.demands import SHARED_ADDRESS
from schemas.objects import Object, is_terminating, with_fields, with_metadata
from schemas.selectors import matches_node
from services.node_servers import SOCKET_ANNOTATION

_OURS = (SOCKET_ANNOTATION, SHARED_ADDRESS)
_IDENTITY = ("type", "status", "reason")


def registered(found: Object, wanted: Object) -> Object:
    """Return the node `found` with the labels, annotations and status of `wanted`; what people set on it stays.

    What an agent said before of how the node is reached, and says no more, goes. Conditions that say the same keep
    their times: a restart of an agent is no transition.
    """
    labels = {**(found["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
    others = {name: value for name, value in _annotations(found).items() if name not in _OURS}
    annotations = {**others, **_annotations(wanted)}
    status = _keeping_conditions(found.get("status") or {}, wanted["status"])
    return with_metadata(with_fields(found, status=status), labels=labels, annotations=annotations or None)


def to_be_reclaimed(volumes: Iterable[Object]) -> list[Object]:
    """Return those that are being deleted and held for their data, each on some node."""
    return [
        volume
        for volume in volumes
        if is_terminating(volume)
        and DATA_FINALIZER in (volume["metadata"].get("finalizers") or ())
        and _affinity_of(volume)
    ]


def is_on(volume: Object, node: Object) -> bool:
    """True if a node matches what one must match to have the volume."""
    return matches_node(_affinity_of(volume), node)


def _affinity_of(volume: Object) -> Object | None:
    """Return what a node must match to be the volume's; one that matches every node is nobody's."""
    required: Object | None = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required


def _annotations(obj: Object) -> Object:
    return obj["metadata"].get("annotations") or {}


def _keeping_conditions(old: Object, new: Object) -> Object:
    before = {tuple(each.get(name) for name in _IDENTITY): each for each in old.get("conditions", ())}
    kept = [
        before.get(tuple(each.get(name) for name in _IDENTITY), each) for each in new.get("conditions", ())
    ]
    return {**new, "conditions": kept}
