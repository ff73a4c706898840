"""metadata.generation: it counts the specs that were wished for, so that a status can say which of them it is about."""

from __future__ import annotations

from schemas.kinds import POD
from schemas.objects import Object, is_terminating
from schemas.patching import strictly_equal


def moves_generation(old: Object, new: Object) -> bool:
    """Say whether a change raises the generation: another spec is wanted, or that the object ends.

    That a pod is bound to a node is neither (KEP-5067).
    """
    return _is_ended(old, new) or _is_respecified(old, new)


def moved_generation_before(old: Object, new: Object) -> bool:
    """Say so by the rule of logs before that: another spec is another spec, a binding included."""
    return _is_ended(old, new) or not strictly_equal(old.get("spec"), new.get("spec"))


def _is_ended(old: Object, new: Object) -> bool:
    return is_terminating(new) and not is_terminating(old)


def _is_respecified(old: Object, new: Object) -> bool:
    before, after = old.get("spec"), new.get("spec")
    if strictly_equal(before, after):
        return False
    if old["kind"] != POD.kind or not before or not after or "nodeName" in before:
        return True
    return not strictly_equal(before, {name: value for name, value in after.items() if name != "nodeName"})
