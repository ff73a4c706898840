"""The quality of service class of a pod, which follows from what its containers ask for (helper/qos ComputePodQOS)."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.objects import Object
from schemas.quantities import parse_quantity

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"
_COUNTED = ("cpu", "memory")


def qos_class_of(spec: Object) -> str:
    """Return the class of a pod with this spec, whose defaults are filled in.

    Guaranteed: each container limits cpu and memory, and requests are limits. BestEffort: nothing is asked for.
    Resources of the whole pod stand for those of its containers.
    """
    whole = spec.get("resources")
    holders = [spec] if whole else [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    limits = [_counted(holder, "limits") for holder in holders]
    wanted, limited = _total(_counted(holder, "requests") for holder in holders), _total(limits)
    if not wanted and not limited:
        return BEST_EFFORT
    is_guaranteed = all(len(each) == len(_COUNTED) for each in limits) and wanted == limited
    return GUARANTEED if is_guaranteed else BURSTABLE


def _counted(holder: Object, which: str) -> dict[str, int]:
    amounts = (holder.get("resources") or {}).get(which) or {}
    nanos = {name: parse_quantity(amounts[name]).nanos for name in _COUNTED if name in amounts}
    return {name: amount for name, amount in nanos.items() if amount > 0}


def _total(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total
