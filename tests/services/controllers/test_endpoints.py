"""EndpointSlices follow the pods behind Services."""

from __future__ import annotations

import random
from typing import Any

import pytest

from events.state import State
from schemas.canonical import canonical
from schemas.changes import Create
from schemas.objects import Object, labels_of, name_of, uid_of, with_metadata
from schemas.validation import validate_create
from services.controllers.endpoints import ENDPOINTS
from services.controllers.references import controller_reference
from tests.builders import a_node, a_pod, a_state, an_object
from tests.services.controllers.settling import Settling

SLICES = "discovery.k8s.io/endpointslices"
SPACE = an_object("Namespace", "default")


def a_service(name: str = "db", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """A headless Service for the pods labelled app=db, with the port 80; a part of None is left out."""
    whole = {
        "clusterIP": "None",
        "selector": {"app": "db"},
        "ports": [{"port": 80, "protocol": "TCP"}],
        **spec,
    }
    kept = {field: value for field, value in whole.items() if value is not None}
    return an_object("Service", name, "default", metadata={"labels": labels or {}}, spec=kept)


def a_backend(number: int = 0, ready: bool = True, phase: str = "Running", **parts: Any) -> Object:
    """A pod labelled app=db with the address 10.0.0.<number>."""
    metadata = {"labels": {"app": "db"}, **parts.pop("metadata", {})}
    pod = a_pod(f"db-{number}", node="n1", phase=phase, metadata=metadata, **parts)
    pod["status"] |= {"podIP": f"10.0.0.{number}", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return pod


def slices(state: State) -> list[Object]:
    return sorted(state.list(SLICES), key=name_of)


def told(*objects: Object) -> list[Object]:
    """The slices that come of it."""
    return slices(Settling(ENDPOINTS, a_state(SPACE, *objects)).resync().state)


def only(*objects: Object) -> Object:
    (found,) = told(*objects)
    return found


def names(found: Object) -> list[str]:
    return [each["targetRef"]["name"] for each in found.get("endpoints", ())]


def test_a_service_has_a_slice_with_its_pods_in_the_order_of_their_names() -> None:
    service, pods = a_service(labels={"tier": "1"}), [a_backend(1), a_backend(0)]

    found = only(service, *pods, a_node("n1", labels={"topology.kubernetes.io/zone": "west"}))

    assert found["metadata"]["labels"] == {
        "tier": "1",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert found["metadata"]["ownerReferences"] == [controller_reference(service)]
    assert found["metadata"]["generateName"] == "db-" and name_of(found).startswith("db-")
    assert (found["addressType"], found["ports"]) == (
        "IPv4",
        [{"name": "", "port": 80, "protocol": "TCP"}],
    )
    assert names(found) == ["db-0", "db-1"]
    assert found["endpoints"][1] == {
        "addresses": ["10.0.0.1"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": "n1",
        "targetRef": {"kind": "Pod", "name": "db-1", "namespace": "default", "uid": uid_of(pods[0])},
        "zone": "west",
    }


def test_a_slice_is_a_canonical_and_valid_object() -> None:
    run = Settling(ENDPOINTS, a_state(SPACE, a_service(), a_backend(hostname="db-0", subdomain="db")))
    view = ENDPOINTS.view_of(run.state, next(iter(ENDPOINTS.keys(run.state))))
    assert view is not None
    (change,) = ENDPOINTS.reconcile(view, 0).changes

    assert isinstance(change, Create)
    assert canonical(change.object).object == change.object
    assert validate_create(change.object) == ()


@pytest.mark.parametrize(
    ("pod", "publishes", "expected"),
    [
        (a_backend(), False, (True, True, False)),
        (a_backend(ready=False), False, (False, False, False)),
        (a_backend(ready=False), True, (True, False, False)),
        (a_backend(metadata={"deletionTimestamp": "2026-01-01T00:00:30Z"}), False, (False, True, True)),
        (a_backend(metadata={"deletionTimestamp": "2026-01-01T00:00:30Z"}), True, (True, True, True)),
    ],
)
def test_conditions_say_whether_a_pod_is_ready_serves_and_ends(
    pod: Object, publishes: bool, expected: tuple[bool, bool, bool]
) -> None:
    found = only(a_service(publishNotReadyAddresses=publishes), pod)

    conditions = found["endpoints"][0]["conditions"]
    assert (conditions["ready"], conditions["serving"], conditions["terminating"]) == expected


@pytest.mark.parametrize(
    "pod",
    [
        a_backend(phase="Failed"),
        a_backend(phase="Succeeded"),
        a_pod("db-0", metadata={"labels": {"app": "db"}}),
        a_backend(metadata={"labels": {"app": "web"}}),
        a_backend(metadata={"namespace": "elsewhere"}),
    ],
)
def test_pods_that_ended_have_no_address_or_are_not_selected_are_left_out(pod: Object) -> None:
    found = only(a_service(), pod)

    assert "endpoints" not in found and "ports" not in found


@pytest.mark.parametrize(
    "service",
    [
        a_service(selector=None),
        a_service(selector={}),
        a_service(type="ExternalName", externalName="example.com"),
        a_service() | {"metadata": a_service()["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
)
def test_services_that_select_nothing_or_go_are_left_alone(service: Object) -> None:
    assert told(service, a_backend()) == []


def test_nothing_is_made_in_a_namespace_that_goes() -> None:
    going = with_metadata(SPACE, deletionTimestamp="2026-01-01T00:00:00Z")

    assert told(a_service(), a_backend(), going) == []


def test_only_a_pod_that_names_the_service_as_its_subdomain_has_a_hostname() -> None:
    named = a_backend(0, hostname="db-0", subdomain="db")
    others = [a_backend(1, hostname="db-1", subdomain="web"), a_backend(2, subdomain="db")]

    found = only(a_service(), named, *others)

    assert [each.get("hostname") for each in found["endpoints"]] == ["db-0", None, None]


def with_port(pod: Object, number: int) -> Object:
    container = {**pod["spec"]["containers"][0], "ports": [{"name": "web", "containerPort": number}]}
    return {**pod, "spec": {**pod["spec"], "containers": [container]}}


def test_pods_whose_named_port_differs_stand_in_slices_of_their_own() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"}]
    pods = [with_port(a_backend(number), 8000 + number % 2) for number in range(3)]

    found = told(a_service(ports=ports), *pods, a_backend(3))

    assert {each["ports"][0]["port"] if "ports" in each else None: names(each) for each in found} == {
        8000: ["db-0", "db-2"],
        8001: ["db-1"],
        None: ["db-3"],
    }
    assert {"name": "http", "port": 8000, "protocol": "TCP", "appProtocol": "http"} in [
        port for each in found for port in each.get("ports", ())
    ]


def test_a_headless_service_needs_no_ports() -> None:
    found = only(a_service(ports=None), a_backend())

    assert names(found) == ["db-0"] and "ports" not in found


def test_addresses_of_two_types_stand_in_two_slices() -> None:
    other = a_backend(1)
    other["status"]["podIP"] = "fd00::1"

    assert {each["addressType"]: names(each) for each in told(a_service(), a_backend(), other)} == {
        "IPv4": ["db-0"],
        "IPv6": ["db-1"],
    }


def test_what_is_right_is_not_written_again() -> None:
    run = Settling(
        ENDPOINTS, a_state(SPACE, a_service(), a_service("empty", selector={"app": "x"}), a_backend())
    )
    assert run.resync().batches == 2

    assert run.resync().batches == 0


def test_slices_follow_a_pod_through_its_life() -> None:
    pod = a_backend(ready=False)
    run = Settling(ENDPOINTS, a_state(SPACE, a_service())).resync()
    (empty,) = slices(run.state)

    run.change(Create(pod)).settle()
    assert slices(run.state)[0]["endpoints"][0]["conditions"]["ready"] is False
    run.edit(pod, lambda now: {**now, "status": a_backend()["status"]}).settle()
    assert slices(run.state)[0]["endpoints"][0]["conditions"]["ready"] is True
    run.remove(pod).settle()

    assert slices(run.state) == [empty]


def test_at_most_a_hundred_pods_stand_in_a_slice_and_a_pod_stays_where_it_is() -> None:
    pods = [a_backend(number) for number in range(250)]
    run = Settling(ENDPOINTS, a_state(SPACE, a_service(), *pods[50:])).resync()
    before = {name_of(each): names(each) for each in slices(run.state)}
    assert sorted(map(len, before.values())) == [100, 100]

    run.change(*map(Create, pods[:50])).settle()

    after = {name_of(each): names(each) for each in slices(run.state)}
    assert {name: after[name] for name in before} == before
    assert sorted(map(len, after.values())) == [50, 100, 100]


def test_a_slice_that_somebody_overfilled_is_divided() -> None:
    pods, service = [a_backend(number) for number in range(150)], a_service()
    run = Settling(ENDPOINTS, a_state(SPACE, service, *pods)).resync()
    first, second = slices(run.state)
    run.remove(second)
    run.edit(first, lambda now: {**now, "endpoints": now["endpoints"] + second["endpoints"]}).settle()

    assert sorted(len(names(each)) for each in slices(run.state)) == [50, 100]


def test_a_service_that_is_made_anew_has_slices_of_its_own_and_the_old_ones_go() -> None:
    old = only(a_service(), a_backend())
    service = a_service()

    found = only(service, a_backend(), old)

    assert found["metadata"]["ownerReferences"] == [controller_reference(service)]
    assert name_of(found) != name_of(old)


def test_a_name_that_somebody_else_has_taken_is_not_used() -> None:
    service = a_service()
    name = name_of(only(service))
    foreign = an_object("EndpointSlice", name, "default", "discovery.k8s.io/v1", addressType="IPv4")

    found = told(service, foreign)

    assert foreign in found and len({name_of(each) for each in found}) == 2


def test_what_somebody_does_to_a_slice_is_put_right() -> None:
    run = Settling(ENDPOINTS, a_state(SPACE, a_service(), a_backend())).resync()
    (right,) = slices(run.state)

    run.edit(right, lambda now: {**with_metadata(now, annotations={"mine": "1"}), "endpoints": []}).settle()
    assert slices(run.state) == [with_metadata(right, annotations={"mine": "1"})]
    run.remove(right).settle()

    assert slices(run.state) == [right]


@pytest.mark.parametrize(
    ("edit", "concerned"),
    [
        (lambda pod: with_metadata(pod, labels={"app": "web"}), True),
        (lambda pod: with_metadata(pod, deletionTimestamp="2026-01-01T00:00:30Z"), True),
        (lambda pod: {**pod, "status": {**pod["status"], "podIP": "10.9.9.9"}}, True),
        (lambda pod: {**pod, "status": {**pod["status"], "conditions": []}}, True),
        (lambda pod: {**pod, "status": {**pod["status"], "phase": "Failed"}}, True),
        (lambda pod: None, True),
        (lambda pod: {**pod, "status": {**pod["status"], "startTime": "2026-01-01T00:00:00Z"}}, False),
        (lambda pod: with_metadata(pod, annotations={"a": "b"}), False),
    ],
)
def test_a_pod_concerns_its_services_only_where_what_slices_say_changes(edit: Any, concerned: bool) -> None:
    pod, service = a_backend(), a_service()
    state = a_state(service, a_service("other", selector={"app": "other"}), a_service("none", selector=None))

    found = list(ENDPOINTS.triggers(state, pod, edit(pod)))

    assert found == ([f"core/services/default/db@{uid_of(service)}"] if concerned else [])


def test_a_service_concerns_itself_where_its_spec_or_labels_change() -> None:
    service, state = a_service(), a_state()

    def concerns(new: Object | None) -> bool:
        return bool(list(ENDPOINTS.triggers(state, service, new)))

    assert concerns({**service, "spec": {**service["spec"], "selector": {"app": "web"}}})
    assert concerns(with_metadata(service, labels={"a": "b"}))
    assert not concerns({**service, "status": {"loadBalancer": {}}})
    assert not concerns(None)


@pytest.mark.parametrize("seed", range(20))
def test_after_whatever_happens_each_pod_behind_a_service_stands_in_one_slice(seed: int) -> None:
    dice = random.Random(seed)
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    run = Settling(ENDPOINTS, a_state(SPACE, a_service(ports=ports))).resync()
    there: dict[int, Object] = {}
    for _ in range(12):
        for number in dice.sample(range(300), dice.choice((1, 5, 120))):
            if number in there:
                run.remove(there.pop(number))
            else:
                there[number] = with_port(
                    a_backend(number, dice.random() < 0.8), dice.choice((8000, 8000, 8001))
                )
                run.change(Create(there[number]))
        run.settle()

        assert run.batches <= 1
        found = slices(run.state)
        assert all(names(each) == sorted(names(each)) and len(names(each)) <= 100 for each in found)
        assert sorted(name for each in found for name in names(each)) == sorted(map(name_of, there.values()))
        assert all(names(each) for each in found) or len(found) == 1
        assert {labels_of(each)["kubernetes.io/service-name"] for each in found} == {"db"}
