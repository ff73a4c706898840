"""Nodes as people steer them: cordoned, so that nothing new is bound to them, and tainted."""

from __future__ import annotations

from schemas.changes import Replace
from schemas.errors import BadRequest, Invalid
from schemas.kinds import NODE
from schemas.objects import Key, Object, split_key
from schemas.pod_rules import taint_findings
from schemas.taints import CORDON, UNSCHEDULABLE, which_taint
from schemas.times import Milliseconds, rfc3339
from services.commands.commands import Cordon, Taint
from services.commands.sources import Sources, existing, subject_of


def decide_cordon(command: Cordon, sources: Sources) -> Replace:
    """Keep new pods away from a node, or let them come again; its taint goes with it. Raises NotFound."""
    node = _existing_node(sources, command.key)
    spec = {name: value for name, value in node["spec"].items() if name != "unschedulable"}
    taints = [each for each in spec.get("taints") or () if each["key"] != UNSCHEDULABLE]
    if command.cordoned:
        return Replace(node, {**node, "spec": _with(spec, [*taints, CORDON]) | {"unschedulable": True}})
    return Replace(node, {**node, "spec": _with(spec, taints)})


def decide_taint(command: Taint, sources: Sources, now: Milliseconds) -> Replace:
    """Add, change and remove taints of a node. Raises NotFound, BadRequest for one that is not there, Invalid."""
    node = _existing_node(sources, command.key)
    taints: list[Object] = list(node["spec"].get("taints") or ())
    for key, effect in command.removed:
        kept = [each for each in taints if each["key"] != key or (effect and each["effect"] != effect)]
        if len(kept) == len(taints):
            raise BadRequest(
                f"taint {':'.join(filter(None, (key, effect)))!r} not found on {subject_of(command.key)}"
            )
        taints = kept
    for added in command.added:
        taints = _added(taints, dict(added), now)
    if causes := tuple(taint_findings(taints, "spec.taints")):
        raise Invalid(subject_of(command.key), causes)
    return Replace(node, {**node, "spec": _with(node["spec"], taints)})


def _existing_node(sources: Sources, key: Key) -> Object:
    if split_key(key)[0] != NODE.resource:
        raise BadRequest(f"{subject_of(key)} is no node; name a node")
    return existing(sources, key)


def _added(taints: list[Object], taint: Object, now: Milliseconds) -> list[Object]:
    """Return the taints with one more; the one of its key and effect is replaced, the same one stays as it is."""
    known = next((each for each in taints if which_taint(each) == which_taint(taint)), None)
    if known is not None and known.get("value", "") == taint.get("value", ""):
        return taints
    timed = {**taint, "timeAdded": rfc3339(now)} if taint["effect"] == "NoExecute" else taint
    return [*(each for each in taints if each is not known), timed]


def _with(spec: Object, taints: list[Object]) -> Object:
    rest = {name: value for name, value in spec.items() if name != "taints"}
    return {**rest, "taints": taints} if taints else rest
