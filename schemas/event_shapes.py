"""The two shapes of Kubernetes' Event: `v1`, which is stored, and `events.k8s.io/v1`, its other name.

They hold the same under other names (k8s.io/kubernetes pkg/apis/events/v1, conversion).
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.kinds import EVENT, EVENT_OF_EVENTS
from schemas.objects import Object

_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {other: name for name, other in _NAMES.items()}


def events_event_of(event: Object) -> Object:
    """Return a `v1` Event in the shape of `events.k8s.io/v1`."""
    return _renamed(event, _NAMES, EVENT_OF_EVENTS.api_version)


def core_event_of(event: Object) -> Object:
    """Return an `events.k8s.io/v1` Event in the shape of `v1`, in which it is stored."""
    return _renamed(event, _BACK, EVENT.api_version)


def _renamed(event: Object, names: Mapping[str, str], api_version: str) -> Object:
    return {**{names.get(name, name): value for name, value in event.items()}, "apiVersion": api_version}
