"""The columns of each kind: the headers and the cells that kubectl shows, wide ones too."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import kinds
from schemas.columns import columns_of
from schemas.kinds import Kind
from schemas.objects import Object, with_metadata
from schemas.pod_columns import pod_ready, pod_restarts, pod_status, readiness_gates
from schemas.times import parse_rfc3339
from tests.builders import a_claim, a_node, a_pod, a_volume, an_object

NOW = parse_rfc3339("2026-01-01T00:10:00Z")


def row(kind: Kind, obj: Object) -> dict[str, Any]:
    """Return the cells of an object by their headers; those of wide columns too."""
    return {column.header: column.cell(obj, NOW) for column in columns_of(kind)}


def headers(kind: Kind, wide: bool) -> str:
    return ", ".join(column.header for column in columns_of(kind) if column.wide is wide)


@pytest.mark.parametrize(
    ("kind", "narrow", "wide"),
    [
        (kinds.STATEFUL_SET, "Name, Ready, Age", "Containers, Images"),
        (
            kinds.DAEMON_SET,
            "Name, Desired, Current, Ready, Up-to-date, Available, Node Selector, Age",
            "Containers, Images, Selector",
        ),
        (kinds.POD, "Name, Ready, Status, Restarts, Age", "IP, Node, Nominated Node, Readiness Gates"),
        (
            kinds.NODE,
            "Name, Status, Roles, Age, Version",
            "Internal-IP, External-IP, OS-Image, Kernel-Version, Container-Runtime",
        ),
        (
            kinds.EVENT,
            "Last Seen, Type, Reason, Object, Message",
            "Subobject, Source, First Seen, Count, Name",
        ),
        (kinds.EVENT_OF_EVENTS, headers(kinds.EVENT, False), headers(kinds.EVENT, True)),
        (kinds.SERVICE, "Name, Type, Cluster-IP, External-IP, Port(s), Age", "Selector"),
        (kinds.DEPLOYMENT, "Name, Created At", ""),
    ],
    ids=lambda value: value.resource if isinstance(value, Kind) else "",
)
def test_headers_are_kubectls(kind: Kind, narrow: str, wide: str) -> None:
    assert (headers(kind, False), headers(kind, True)) == (narrow, wide)


TEMPLATE = {
    "spec": {
        "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}],
        "nodeSelector": {"disk": "ssd", "zone": "a"},
    }
}


def a_set(kind: str, **status: int) -> Object:
    selector = {
        "matchLabels": {"tier": "db"},
        "matchExpressions": [
            {"key": "app", "operator": "In", "values": ["y", "x"]},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }
    spec = {"template": TEMPLATE, "selector": selector}
    return an_object(kind, "db", "default", "apps/v1", spec=spec, status=status)


def test_a_stateful_set_of_one_by_default() -> None:
    assert row(kinds.STATEFUL_SET, a_set("StatefulSet")) == {
        "Name": "db", "Ready": "0/1", "Age": "10m", "Containers": "a,b", "Images": "a:1,b:2",
    }  # fmt: skip


def test_a_daemon_set_counts_in_numbers() -> None:
    status = {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3}
    assert row(kinds.DAEMON_SET, a_set("DaemonSet", **status)) == {
        "Name": "db", "Desired": 5, "Current": 4, "Ready": 3, "Up-to-date": 0, "Available": 0,
        "Node Selector": "disk=ssd,zone=a", "Age": "10m", "Containers": "a,b", "Images": "a:1,b:2",
        "Selector": "app in (x,y),!canary,tier=db",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "status", "external", "ports"),
    [
        ({"type": "ClusterIP"}, {}, "<none>", "<none>"),
        ({"externalIPs": ["1.1.1.1", "2.2.2.2"], "ports": [{"port": 80}]}, {}, "1.1.1.1,2.2.2.2", "80/TCP"),
        ({"type": "ExternalName", "externalName": "x.org"}, {}, "x.org", "<none>"),
        ({"type": "LoadBalancer"}, {}, "<pending>", "<none>"),
        (
            {"type": "LoadBalancer", "ports": [{"port": 53, "nodePort": 30053, "protocol": "UDP"}]},
            {"loadBalancer": {"ingress": [{"hostname": "lb"}]}},
            "lb",
            "53:30053/UDP",
        ),
    ],
)
def test_addresses_of_services(spec: Object, status: Object, external: str, ports: str) -> None:
    cells = row(kinds.SERVICE, an_object("Service", "s", "default", spec=spec, status=status))
    assert (cells["External-IP"], cells["Port(s)"]) == (external, ports)


def test_a_claim_has_a_capacity_when_it_is_bound() -> None:
    status = {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    bound = {**a_claim("data", "pv1"), "status": status}
    cells = row(kinds.CLAIM, bound)
    assert (cells["Volume"], cells["Capacity"], cells["Access Modes"]) == ("pv1", "1Gi", "RWO")
    assert (cells["VolumeAttributesClass"], cells["VolumeMode"]) == ("<unset>", "<unset>")
    unbound = {**a_claim("data"), "status": status | {"phase": "Pending"}}
    cells = row(kinds.CLAIM, unbound)
    assert (cells["Status"], cells["Capacity"], cells["Access Modes"]) == ("Pending", "", "")


def test_a_volume_that_goes_is_terminating() -> None:
    leaving = with_metadata(a_volume("pv1", a_claim()), deletionTimestamp="2026-01-01T00:09:00Z")
    cells = row(kinds.VOLUME, leaving)
    assert (cells["Status"], cells["Claim"], cells["Reclaim Policy"]) == (
        "Terminating",
        "default/data",
        "Delete",
    )


def test_a_node_says_its_roles_and_addresses() -> None:
    labels = {"node-role.kubernetes.io/db": "", "node-role.kubernetes.io/edge": "", "kubernetes.io/role": "a"}
    node = with_metadata(a_node("n1", unschedulable=True), labels=labels)
    node["status"] |= {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    cells = row(kinds.NODE, node)
    assert (cells["Status"], cells["Roles"]) == ("Ready,SchedulingDisabled", "a,db,edge")
    assert (cells["Internal-IP"], cells["External-IP"]) == ("10.0.0.1", "<none>")
    assert cells["OS-Image"] == "<unknown>"


def an_event(**fields: Any) -> Object:
    about = {"kind": "Pod", "name": "db-0", "fieldPath": "spec.containers{db}"}
    return an_object("Event", "db-0.1", "default", involvedObject=about, **fields)


@pytest.mark.parametrize(
    ("fields", "seen", "times", "source"),
    [
        (
            {"firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:00Z", "count": 7,
             "source": {"component": "kubelet", "host": "n1"}},
            ("60s", "10m"), 7, "kubelet, n1",
        ),
        (
            {"eventTime": "2026-01-01T00:08:00.123456Z", "reportingComponent": "scheduler"},
            ("119s", "119s"), 1, "scheduler",
        ),
        (
            {"eventTime": "2026-01-01T00:00:00.000000Z",
             "series": {"count": 3, "lastObservedTime": "2026-01-01T00:09:30.000000Z"}},
            ("30s", "10m"), 3, "",
        ),
        ({}, ("<unknown>", "<unknown>"), 1, ""),
    ],
)  # fmt: skip
def test_events_of_either_age_say_when_they_were_seen(
    fields: Object, seen: tuple[str, str], times: int, source: str
) -> None:
    cells = row(kinds.EVENT, an_event(message=" told\n", **fields))
    assert (cells["Last Seen"], cells["First Seen"]) == seen
    assert (cells["Count"], cells["Source"], cells["Message"]) == (times, source, "told")
    assert (cells["Object"], cells["Subobject"]) == ("pod/db-0", "spec.containers{db}")


def test_slices_show_three_addresses_and_how_many_more() -> None:
    endpoints = [{"addresses": [f"10.0.0.{number}"]} for number in range(5)]
    ports = [{"port": 80}, {"name": "http"}, {}]
    found = an_object("EndpointSlice", "s", "default", endpoints=endpoints, ports=ports)
    cells = row(kinds.ENDPOINT_SLICE, found)
    assert cells["Endpoints"] == "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more..."
    assert cells["Ports"] == "80,http,*"
    assert row(kinds.ENDPOINT_SLICE, an_object("EndpointSlice", "s", "default"))["Endpoints"] == "<unset>"


def test_the_default_storage_class_is_marked() -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    found = with_metadata(an_object("StorageClass", "fast", provisioner="p"), annotations=annotations)
    assert row(kinds.STORAGE_CLASS, found) == {
        "Name": "fast (default)", "Provisioner": "p", "ReclaimPolicy": "Delete",
        "VolumeBindingMode": "Immediate", "AllowVolumeExpansion": False, "Age": "10m",
    }  # fmt: skip


def test_bindings_show_their_subjects() -> None:
    subjects = [
        {"kind": "User", "name": "alice"},
        {"kind": "User", "name": "bob"},
        {"kind": "ServiceAccount", "name": "default", "namespace": "a"},
    ]
    found = an_object("RoleBinding", "r", "a", roleRef={"kind": "Role", "name": "edit"}, subjects=subjects)
    cells = row(kinds.ROLE_BINDING, found)
    assert (cells["Role"], cells["Users"], cells["Groups"]) == ("Role/edit", "alice, bob", "")
    assert cells["ServiceAccounts"] == "a/default"


def test_a_revision_names_its_controller() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}
    found = with_metadata(
        an_object("ControllerRevision", "db-1", "default", revision=3), ownerReferences=[owner]
    )
    assert row(kinds.CONTROLLER_REVISION, found) == {
        "Name": "db-1", "Controller": "statefulset.apps/db", "Revision": 3, "Age": "10m",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "obj", "shown"),
    [
        (kinds.SECRET, an_object("Secret", "a", "default", data={"k": "v"}), {"Type": "Opaque", "Data": 1}),
        (kinds.CONFIG_MAP, an_object("ConfigMap", "a", "default", data={"k": "v"}), {"Data": 1}),
        (kinds.SERVICE_ACCOUNT, an_object("ServiceAccount", "a", "default"), {"Secrets": 0}),
        (kinds.LEASE, an_object("Lease", "a", "default", spec={"holderIdentity": "n1"}), {"Holder": "n1"}),
        (
            kinds.BUDGET,
            an_object("PodDisruptionBudget", "a", "default", spec={"minAvailable": "50%"}),
            {"Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 0},
        ),
        (
            kinds.PRIORITY_CLASS,
            an_object("PriorityClass", "a", value=-5, preemptionPolicy="Never"),
            {"Value": -5, "Global-Default": False, "PreemptionPolicy": "Never"},
        ),
        (
            kinds.ROLE,
            with_metadata(an_object("Role", "a", "b"), creationTimestamp="2026-01-01T00:00:00Z"),
            {"Created At": "2026-01-01T00:00:00Z"},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Kind) else "",
)
def test_the_plain_kinds(kind: Kind, obj: Object, shown: Object) -> None:
    cells = row(kind, obj)
    assert {header: cells[header] for header in shown} == shown
    assert [type(cells[header]) for header in shown] == [type(value) for value in shown.values()]


def container(name: str = "main", restarts: int = 0, ended: str = "", **state: Any) -> Object:
    last = {"lastState": {"terminated": {"exitCode": 1, "finishedAt": ended}}} if ended else {}
    ready = "running" in state
    return {"name": name, "ready": ready, "restartCount": restarts, "state": state, **last}


def pod_with(inits: list[Object] | None = None, **status: Any) -> Object:
    pod = a_pod("db-0")
    return {**pod, "spec": {**pod["spec"], "initContainers": inits or []}, "status": status}


def test_restarts_say_how_long_ago_the_last_one_was() -> None:
    statuses = [
        container(restarts=2, ended="2026-01-01T00:05:00Z", running={}),
        container("b", restarts=1, ended="2026-01-01T00:02:00Z", running={}),
    ]
    assert pod_restarts(pod_with(containerStatuses=statuses), NOW) == "3 (5m ago)"
    assert pod_restarts(pod_with(containerStatuses=[container(restarts=2)]), NOW) == "2"
    assert pod_restarts(pod_with(containerStatuses=[container(ended="2026-01-01T00:05:00Z")]), NOW) == "0"


def test_sidecars_count_and_init_containers_do_only_while_they_run() -> None:
    inits = [{"name": "once"}, {"name": "side", "restartPolicy": "Always"}]
    side = {**container("side", restarts=4, running={}), "started": True}
    running = pod_with(
        inits,
        initContainerStatuses=[container("once", restarts=9, terminated={"exitCode": 0}), side],
        containerStatuses=[container(running={})],
    )
    assert (pod_ready(running), pod_restarts(running, NOW)) == ("2/2", "4")
    starting = pod_with(
        inits, initContainerStatuses=[container("once", restarts=9, running={})], containerStatuses=[]
    )
    assert (pod_ready(starting), pod_restarts(starting, NOW)) == ("0/2", "9")
    assert pod_status(starting) == "Init:0/2"


def condition(kind: str, status: str, **more: str) -> Object:
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (
            {"phase": "Pending", "conditions": [condition("PodScheduled", "False", reason="SchedulingGated")]},
            "SchedulingGated",
        ),
        ({"phase": "Pending", "containerStatuses": [container(waiting={})]}, "Pending"),
        (
            {"phase": "Running", "conditions": [condition("Ready", "True")],
             "containerStatuses": [container("a", terminated={"reason": "Completed"}), container("b", running={})]},
            "Running",
        ),
        (
            {"phase": "Running",
             "containerStatuses": [container("a", terminated={"reason": "Completed"}), container("b", running={})]},
            "NotReady",
        ),
        (
            {"phase": "Running", "conditions": [condition("Initialized", "True")],
             "initContainerStatuses": [container("i", running={})],
             "containerStatuses": [container(waiting={"reason": "CrashLoopBackOff"})]},
            "CrashLoopBackOff",
        ),
        (
            {"phase": "Running",
             "containerStatuses": [container(waiting={"reason": "One"}), container(waiting={"reason": "Two"})]},
            "One",
        ),
    ],
)  # fmt: skip
def test_the_word_for_a_pod(status: Object, word: str) -> None:
    assert pod_status({**a_pod(), "status": status}) == word


def test_a_pod_of_a_lost_node_that_goes_is_unknown_and_one_that_ended_keeps_its_end() -> None:
    leaving = with_metadata(a_pod(), deletionTimestamp="2026-01-01T00:09:00Z")
    assert pod_status({**leaving, "status": {"phase": "Running", "reason": "NodeLost"}}) == "Unknown"
    assert pod_status({**leaving, "status": {"phase": "Running"}}) == "Terminating"
    assert pod_status({**leaving, "status": {"phase": "Succeeded"}}) == "Succeeded"


def test_readiness_gates_are_counted() -> None:
    pod = pod_with(conditions=[condition("a", "True"), condition("b", "False")])
    assert readiness_gates(pod) == "<none>"
    gates = [{"conditionType": name} for name in "abc"]
    assert readiness_gates({**pod, "spec": {**pod["spec"], "readinessGates": gates}}) == "1/3"
