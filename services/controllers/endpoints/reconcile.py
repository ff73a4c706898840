"""Keeps the EndpointSlices of Services up to date (pkg/controller/endpointslice).

A key is a Service's with its uid, as an owner's is for garbage collection, which takes the slices of a Service that is
gone. Services without a selector are left to those who write their slices themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from events.state import State
from schemas.changes import Change, Create, Decision, Replace
from schemas.deletion import deletion_of
from schemas.event_types import condition_of
from schemas.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, POD, SERVICE
from schemas.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    key_of,
    key_of_object,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from schemas.times import Milliseconds
from services.backends import address_of, has_backends, is_reachable, selects
from services.controllers.controller import Controller
from services.controllers.endpoints.slices import (
    MANAGED_BY,
    MANAGER,
    NO_SHAPE,
    SERVICE_NAME,
    Shape,
    filled,
    free_names,
    grouped,
    new_slice,
    placed,
    shape_of,
)

ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class View:
    """A Service and what its slices depend on.

    pods      those behind it, by name
    slices    its own slices, by name
    strays    slices that bear its name and our label, and are not its own: their Service is gone
    taken     the names of all slices of the namespace
    zones     node -> its zone, of the pods' nodes that are in one
    """

    service: Object
    pods: tuple[Object, ...]
    slices: tuple[Object, ...]
    strays: tuple[Object, ...]
    taken: frozenset[str]
    zones: Mapping[str, str]


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the Services whose slices may be wrong by this event. Cost of a pod's: the Services of its namespace."""
    obj = new or old
    assert obj is not None
    match obj["kind"]:
        case POD.kind:
            services = [
                each for each in state.list(SERVICE.resource, namespace_of(obj)) if has_backends(each)
            ]
            if services and _standing(old) != _standing(new):
                pods = [pod for pod in (old, new) if pod is not None]
                yield from (_key(each) for each in services if any(selects(each, pod) for pod in pods))
        case SERVICE.kind:
            if new is not None and has_backends(new) and (old is None or _asks(old) != _asks(new)):
                yield _key(new)
        case ENDPOINT_SLICE.kind:
            if old is not None and _is_managed(old):
                service = state.get(key_of(SERVICE.resource, namespace_of(old), labels_of(old)[SERVICE_NAME]))
                if service is not None and has_backends(service):
                    yield _key(service)


def keys(state: State) -> Iterable[Key]:
    """Return every Service that selects pods."""
    return [_key(each) for each in state.list(SERVICE.resource) if has_backends(each)]


def view_of(state: State, key: Key) -> View | None:
    """Return a Service with its pods and slices; None where it selects none, or it or its namespace goes."""
    service_key, _, uid = key.rpartition("@")
    service = state.get(service_key)
    if service is None or uid_of(service) != uid or is_terminating(service) or not has_backends(service):
        return None
    namespace = namespace_of(service)
    around = state.get(key_of(NAMESPACE.resource, "", namespace))
    if around is not None and is_terminating(around):
        return None
    pods = [pod for pod in state.list(POD.resource, namespace) if selects(service, pod) and is_reachable(pod)]
    nearby = sorted(state.list(ENDPOINT_SLICE.resource, namespace), key=name_of)
    found = [
        each
        for each in nearby
        if _is_managed(each)
        and labels_of(each)[SERVICE_NAME] == name_of(service)
        and not is_terminating(each)
    ]
    own = [each for each in found if (controller_of(each) or {}).get("uid") == uid]
    return View(
        service,
        tuple(sorted(pods, key=name_of)),
        tuple(own),
        tuple(each for each in found if each not in own),
        frozenset(map(name_of, nearby)),
        dict(_zones(state, {pod["spec"].get("nodeName", "") for pod in pods})),
    )


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Make the slices say what is so. One that is left over serves anew, or goes; a Service without pods has one."""
    kept, new, spare = _plan(view)
    names = free_names(view.service, view.taken)
    for shape, endpoints in new:
        same_type = [each for each in spare if each["addressType"] == shape[0]]
        if same_type:
            spare.remove(same_type[0])
        kept.append((same_type[0] if same_type else None, shape, endpoints))
    changes: list[Change] = []
    for old, shape, endpoints in kept:
        if old is None:
            made = new_slice(view.service, next(names))
            changes.append(Create(filled(made, view.service, shape, endpoints)))
        elif (wanted := filled(old, view.service, shape, endpoints)) != old:
            changes.append(Replace(old, wanted))
    changes += [deletion_of(each, now) for each in (*spare, *view.strays)]
    return Decision(tuple(changes))


ENDPOINTS: Controller[View] = Controller("endpoints", triggers, keys, view_of, reconcile)

_Kept = tuple[Object | None, Shape, list[Object]]
_New = tuple[Shape, list[Object]]


def _plan(view: View) -> tuple[list[_Kept], list[_New], list[Object]]:
    """Return what stands in which slice, what needs a new one, and the slices in which nothing is left."""
    by_shape: dict[Shape, list[Object]] = {}
    for each in view.slices:
        by_shape.setdefault(shape_of(each), []).append(each)
    wanted = grouped(view.service, view.pods, view.zones) or {NO_SHAPE: []}
    kept: list[_Kept] = []
    new: list[_New] = []
    spare = [each for shape, slices in by_shape.items() if shape not in wanted for each in slices]
    for shape, endpoints in wanted.items():
        slices = by_shape.get(shape, [])
        parts, more = placed(endpoints, slices)
        new += [(shape, part) for part in more]
        for each, part in zip(slices, parts, strict=True):
            if part:
                kept.append((each, shape, part))
            else:
                spare.append(each)
    if not view.pods:
        new.append((NO_SHAPE, []))
    return kept, new, spare


def _key(service: Object) -> Key:
    return f"{key_of_object(service)}@{uid_of(service)}"


def _asks(service: Object) -> tuple[object, ...]:
    return service["spec"], labels_of(service)


def _is_managed(found: Object) -> bool:
    labels = labels_of(found)
    return labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in labels


def _standing(pod: Object | None) -> tuple[object, ...] | None:
    """What of a pod stands in slices, or decides in which, and may change; None where it stands in none."""
    if pod is None or not is_reachable(pod):
        return None
    return (
        uid_of(pod),
        address_of(pod),
        labels_of(pod),
        condition_of(pod, "Ready"),
        is_terminating(pod),
        pod["spec"].get("nodeName"),
    )


def _zones(state: State, nodes: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in nodes:
        node = state.get(key_of(NODE.resource, "", name)) if name else None
        if node is not None and (zone := labels_of(node).get(ZONE)):
            yield name, zone
