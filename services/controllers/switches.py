"""Which controllers are paused: an ordinary ConfigMap, so that every pause has a who and a when like all
else."""

from __future__ import annotations

from events.state import State
from schemas.objects import Object

NAMESPACE = "kube-system"
NAME = "chronoset-controllers"
KEY = f"core/configmaps/{NAMESPACE}/{NAME}"
PAUSED = "paused"


def is_paused(state: State, controller: str) -> bool:
    """True while the ConfigMap says `<controller>: paused`."""
    found = state.get(KEY)
    return found is not None and (found.get("data") or {}).get(controller) == PAUSED


def with_switch(found: Object | None, controller: str, paused: bool) -> Object:
    """Return the ConfigMap with one controller paused or running; `found` is the present one, if there is
    one."""
    base = found or {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }
    data = {name: value for name, value in (base.get("data") or {}).items() if name != controller}
    if paused:
        data[controller] = PAUSED
    rest = {name: value for name, value in base.items() if name != "data"}
    return {**rest, "data": data} if data else rest
