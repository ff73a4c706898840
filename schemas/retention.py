"""How long everything is kept of each kind: an ordinary ConfigMap, so that every policy has a who and a when.

    data: {pods: 90d, leases.coordination.k8s.io: 1w}

What is older is thinned to the states at snapshots (events.thinning). `snapshots: 30d` may stand beside the kinds: of
older ones only some are kept (events.sparseness). What is not named is kept in full for ever, and so is that whose
period cannot be read: nothing is ever dropped by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from schemas.envelopes import LOG_KEY
from schemas.kinds import BY_RESOURCE, kind_named
from schemas.objects import Key, Object, resource_of
from schemas.positions import Position
from schemas.times import Milliseconds

NAMESPACE = "kube-system"
NAME = "chronoset-retention"
KEY: Key = f"core/configmaps/{NAMESPACE}/{NAME}"
KEPT_KEYS = frozenset({LOG_KEY, KEY})
"""What is kept in full whatever a policy says: by these it can be checked."""
DAY: Milliseconds = 86_400_000
SNAPSHOTS = "snapshots"
"""Stands where a resource does, for the snapshots of all; no kind is called so."""
SHORTEST: Milliseconds = DAY
"""A command that is repeated within a day is answered by its events."""
_UNITS: Mapping[str, Milliseconds] = MappingProxyType(
    {"h": DAY // 24, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}
)
_is_period = re.compile(r"([0-9]{1,5})([hdwy])", re.ASCII).fullmatch
ACCEPTED = "hours, days, weeks or years, a day at least, as 36h, 90d, 12w or 2y"


class Retention(NamedTuple):
    """How long everything is kept, by resource, in milliseconds; and the position of the event that says so."""

    position: Position
    keep: Mapping[str, Milliseconds]


def is_kept(key: Key, resources: frozenset[str]) -> bool:
    """Say whether an object's events stay where those of `resources` are dropped."""
    return key in KEPT_KEYS or resource_of(key) not in resources


def parse_period(text: str) -> Milliseconds | None:
    """Return the milliseconds of `36h`, `90d`, `12w` or `2y`; None where it is none, or shorter than a day."""
    found = _is_period(text)
    period = int(found[1]) * _UNITS[found[2]] if found else 0
    return period if period >= SHORTEST else None


def periods_of(found: Object | None) -> dict[str, Milliseconds]:
    """Return how long everything is kept, by resource, as the ConfigMap says; what cannot be read is left out."""
    periods = {}
    for name, text in ((found or {}).get("data") or {}).items():
        resource, period = resource_named(name), parse_period(text)
        if resource and period is not None:
            periods[resource] = period
    return periods


def resource_named(name: str) -> str:
    """Return the resource that a policy means by a name, or SNAPSHOTS; empty where it means none."""
    if name == SNAPSHOTS:
        return SNAPSHOTS
    kind = kind_named(name)
    return kind.resource if kind is not None and kind.resource in BY_RESOURCE else ""


def name_in_policy(resource: str) -> str:
    """Return how the ConfigMap names a resource: `pods`, `statefulsets.apps`, `snapshots`."""
    group, _, plural = resource.partition("/")
    return f"{plural}.{group}" if plural and group != "core" else plural or group


def with_periods(found: Object | None, resources: Sequence[str], period: str) -> Object:
    """Return the ConfigMap with a period for some resources, none where it is empty; `found` is the present one."""
    base = found or {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }
    data = {
        name: text for name, text in (base.get("data") or {}).items() if resource_named(name) not in resources
    }
    if period:
        data |= {name_in_policy(resource): period for resource in resources}
    rest = {name: value for name, value in base.items() if name != "data"}
    return {**rest, "data": data} if data else rest
