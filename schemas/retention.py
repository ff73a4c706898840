"""How long everything is kept of each kind: an ordinary ConfigMap, so that every policy has a who and a when.

    data: {pods: 90d, leases.coordination.k8s.io: 1w}

What is older is thinned to the states at snapshots (events.thinning). A kind that is not named is kept in full for
ever, and so is one whose period cannot be read: nothing is ever dropped by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from schemas.envelopes import LOG_KEY
from schemas.kinds import BY_RESOURCE, Kind, kind_named
from schemas.objects import Key, Object, resource_of
from schemas.positions import Position
from schemas.times import Milliseconds

NAMESPACE = "kube-system"
NAME = "chronoset-retention"
KEY: Key = f"core/configmaps/{NAMESPACE}/{NAME}"
KEPT_KEYS = frozenset({LOG_KEY, KEY})
"""What is kept in full whatever a policy says: by these it can be checked."""
DAY: Milliseconds = 86_400_000
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
        kind, period = kind_named(name), parse_period(text)
        if kind is not None and period is not None and kind.resource in BY_RESOURCE:
            periods[kind.resource] = period
    return periods


def name_in_policy(kind: Kind) -> str:
    """Return how the ConfigMap names a kind: `pods`, `statefulsets.apps`."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def with_periods(found: Object | None, kinds: Sequence[Kind], period: str) -> Object:
    """Return the ConfigMap with a period for some kinds, none where it is empty; `found` is the present one."""
    base = found or {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }
    changed = {kind.resource for kind in kinds}
    data = {
        name: text
        for name, text in (base.get("data") or {}).items()
        if (known := kind_named(name)) is None or known.resource not in changed
    }
    if period:
        data |= {name_in_policy(kind): period for kind in kinds}
    rest = {name: value for name, value in base.items() if name != "data"}
    return {**rest, "data": data} if data else rest
