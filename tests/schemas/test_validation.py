"""What Kubernetes refuses is refused, at its field paths and in its words; what it allows is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.canonical import canonical
from schemas.objects import Object
from schemas.patching import apply_merge_patch
from schemas.validation import validate_create, validate_update
from tests.schemas.manifests import (
    a_claim_template,
    a_container,
    a_daemonset,
    a_pod,
    a_statefulset,
    a_template,
    an_object,
    stored,
)

IN_TEMPLATE = "spec.template.spec"


def created(obj: Object) -> list[str]:
    return [str(cause) for cause in validate_create(stored(obj))]


def updated(old: Object, patch: Any) -> list[str]:
    before = stored(old)
    return [str(cause) for cause in validate_update(before, stored(apply_merge_patch(before, patch)))]


def with_container(**fields: Any) -> Object:
    return a_statefulset(template=a_template(containers=[a_container(**fields)]))


def with_pod_spec(**spec: Any) -> Object:
    return a_statefulset(template=a_template(**spec))


def rolling(**fields: Any) -> Any:
    return {"type": "RollingUpdate", "rollingUpdate": fields}


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    "obj",
    [
        a_statefulset(),
        a_statefulset(replicas=2, updateStrategy=rolling(partition=99)),
        a_statefulset(podManagementPolicy="Parallel", updateStrategy={"type": "OnDelete"}),
        a_statefulset(
            volumeClaimTemplates=[a_claim_template()],
            template=a_template(
                containers=[a_container(volumeMounts=[{"name": "data", "mountPath": "/data"}])],
                tolerations=[{"operator": "Exists"}],
            ),
        ),
        with_container(
            readinessProbe={"exec": {"command": ["true"]}, "successThreshold": 3},
            ports=[{"containerPort": 80, "name": "http"}],
            env=[{"name": "with.dots-1", "value": "x"}],
            resources={"requests": {"cpu": "500m"}, "limits": {"cpu": 1}},
        ),
        a_daemonset(),
        a_daemonset(updateStrategy=rolling(maxSurge="25%", maxUnavailable=0)),
        a_pod(nodeName="n1"),
        an_object("Service", "db", spec={"clusterIP": "None", "selector": {"app": "db"}}),
        an_object("PersistentVolumeClaim", spec=a_claim_template()["spec"]),
        an_object(
            "PersistentVolume",
            spec={
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": "/x"},
            },
        ),
        an_object("Namespace", "team-a"),
        an_object("Node", "n1.example.com", spec={"taints": [{"key": "a/b", "effect": "NoSchedule"}]}),
        an_object("ConfigMap", data={"my.cnf": "x"}),
        an_object("Secret", data={"k": "dg=="}, stringData={"l": "ü"}),
        an_object("Lease", spec={"leaseDurationSeconds": 15}),
        an_object("ControllerRevision", revision=1, data={"spec": {}}),
        an_object("Event", involvedObject={"kind": "Pod", "namespace": "default"}),
    ],
    ids=lambda obj: str(obj["kind"]),
)
def test_a_valid_object_is_accepted(obj: Object) -> None:
    assert created(obj) == []


def named(obj: Object, **metadata: Any) -> Object:
    return obj | {"metadata": obj["metadata"] | metadata}


STATEFUL_SETS: list[tuple[Object, str]] = [
    (a_statefulset(replicas=-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    (
        a_statefulset(replicas=100_001),
        "spec.replicas: Invalid value: 100001: must be less than or equal to 100000",
    ),
    (
        a_statefulset(minReadySeconds=-1),
        "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
    ),
    (a_statefulset(ordinals={"start": -1}), "spec.ordinals.start: Invalid value: -1"),
    (
        a_statefulset(updateStrategy=rolling(partition=-1)),
        "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        a_statefulset(updateStrategy=rolling(maxUnavailable=0)),
        "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
    ),
    (a_statefulset(updateStrategy=rolling(maxUnavailable="0%")), 'Invalid value: "0%": cannot be 0'),
    (a_statefulset(updateStrategy=rolling(maxUnavailable="101%")), "must not be greater than 100%"),
    (
        a_statefulset(updateStrategy=rolling(maxUnavailable="some")),
        "must be an integer or percentage (e.g '5%')",
    ),
    (
        a_statefulset(updateStrategy={"type": "OnDelete", "rollingUpdate": {}}),
        "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'",
    ),
    (a_statefulset(updateStrategy={"type": "Recreate"}), "must be 'RollingUpdate' or 'OnDelete'"),
    (
        a_statefulset(podManagementPolicy="Random"),
        "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
    ),
    (
        a_statefulset(selector={}),
        "spec.selector: Invalid value: {}: empty selector is invalid for statefulset",
    ),
    (
        a_statefulset(selector={"matchLabels": {"app": "web"}}),
        'spec.template.metadata.labels: Invalid value: {"app": "db"}: `selector` does not match template `labels`',
    ),
    (
        a_statefulset(selector={"matchExpressions": [{"key": "app", "operator": "Near"}]}),
        'spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator',
    ),
    (
        a_statefulset(selector={"matchExpressions": [{"key": "app", "operator": "In"}]}),
        "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In'",
    ),
    (
        with_pod_spec(restartPolicy="Never"),
        f'{IN_TEMPLATE}.restartPolicy: Unsupported value: "Never": supported values: "Always"',
    ),
    (with_pod_spec(activeDeadlineSeconds=5), f"{IN_TEMPLATE}.activeDeadlineSeconds: Forbidden"),
    (
        a_statefulset(persistentVolumeClaimRetentionPolicy={"whenScaled": "Keep"}),
        'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Keep"',
    ),
    (
        a_statefulset(volumeClaimTemplates=[a_claim_template(), a_claim_template()]),
        'spec.volumeClaimTemplates[1].metadata.name: Duplicate value: "data"',
    ),
    (named(a_statefulset(), name="Db"), 'metadata.name: Invalid value: "Db": a lowercase RFC 1123 subdomain'),
    (named(a_statefulset(), name="d" * 254), "must be no more than 253 characters"),
    (
        named(a_statefulset(), namespace="a.b"),
        'metadata.namespace: Invalid value: "a.b": a lowercase RFC 1123 label',
    ),
    (named(a_statefulset(), namespace=""), "metadata.namespace: Required value"),
    (
        named(a_statefulset(), labels={"a b": "c"}),
        'metadata.labels: Invalid value: "a b": name part must consist',
    ),
    (
        named(a_statefulset(), labels={"a": "c d"}),
        'metadata.labels: Invalid value: "c d": a valid label must be',
    ),
    (named(a_statefulset(), labels={"/a": ""}), "prefix part must be non-empty"),
    (named(a_statefulset(), annotations={"a": "x" * 262144}), "metadata.annotations: Invalid value"),
    (named(a_statefulset(), finalizers=["a b"]), "metadata.finalizers[0]: Invalid value"),
    (
        named(a_statefulset(), ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "", "uid": "1"}]),
        'metadata.ownerReferences[0].name: Invalid value: "": must not be empty',
    ),
]

PODS: list[tuple[Object, str]] = [
    (with_pod_spec(containers=[]), f"{IN_TEMPLATE}.containers: Required value"),
    (
        with_container(name="A"),
        f'{IN_TEMPLATE}.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label',
    ),
    (with_container(image=""), f"{IN_TEMPLATE}.containers[0].image: Required value"),
    (
        with_pod_spec(containers=[a_container(), a_container()]),
        f'{IN_TEMPLATE}.containers[1].name: Duplicate value: "db"',
    ),
    (
        with_pod_spec(initContainers=[a_container()]),
        f'{IN_TEMPLATE}.containers[0].name: Duplicate value: "db"',
    ),
    (
        with_container(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        f'{IN_TEMPLATE}.containers[0].volumeMounts[0].name: Not found: "data"',
    ),
    (
        with_pod_spec(
            volumes=[{"name": "v"}],
            containers=[
                a_container(volumeMounts=[{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}])
            ],
        ),
        f'{IN_TEMPLATE}.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
    ),
    (
        with_pod_spec(volumes=[{"name": "v"}, {"name": "v"}]),
        f'{IN_TEMPLATE}.volumes[1].name: Duplicate value: "v"',
    ),
    (
        with_pod_spec(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        f"{IN_TEMPLATE}.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
    ),
    (
        with_container(ports=[{"containerPort": 0}]),
        f"{IN_TEMPLATE}.containers[0].ports[0].containerPort: Invalid value: 0: must be between 1 and 65535, inclusive",
    ),
    (with_container(ports=[{"containerPort": 65536}]), "Invalid value: 65536: must be between 1 and 65535"),
    (
        with_container(ports=[{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]),
        f'{IN_TEMPLATE}.containers[0].ports[1].name: Duplicate value: "a"',
    ),
    (with_container(ports=[{"containerPort": 1, "protocol": "HTTP"}]), 'Unsupported value: "HTTP"'),
    (with_container(ports=[{"containerPort": 1, "name": "1"}]), "must contain at least one letter (a-z)"),
    (
        with_container(ports=[{"containerPort": 1, "hostPort": 7}, {"containerPort": 2, "hostPort": 7}]),
        f"{IN_TEMPLATE}.containers[0].ports[1].hostPort: Duplicate value: 7",
    ),
    (
        with_container(readinessProbe={"exec": {"command": ["x"]}, "periodSeconds": -1}),
        f"{IN_TEMPLATE}.containers[0].readinessProbe.periodSeconds: Invalid value: -1",
    ),
    (
        with_container(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2}),
        f"{IN_TEMPLATE}.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (with_container(readinessProbe={}), "readinessProbe: Required value: must specify a handler type"),
    (
        with_container(readinessProbe={"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}),
        "readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
    ),
    (
        with_container(readinessProbe={"tcpSocket": {"port": 0}}),
        "readinessProbe.tcpSocket.port: Invalid value: 0",
    ),
    (with_container(env=[{"name": "a=b"}]), f'{IN_TEMPLATE}.containers[0].env[0].name: Invalid value: "a=b"'),
    (with_container(env=[{"name": "A", "valueFrom": {}}]), "env[0].valueFrom: Invalid value"),
    (
        with_container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]),
        'env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.foo"',
    ),
    (
        with_container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}),
        f'{IN_TEMPLATE}.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit '
        "of 1500m",
    ),
    (with_container(resources={"limits": {"cpu": "-1"}}), "resources.limits.cpu: Invalid value"),
    (with_container(imagePullPolicy="Sometimes"), 'imagePullPolicy: Unsupported value: "Sometimes"'),
    (with_pod_spec(terminationGracePeriodSeconds=-1), "terminationGracePeriodSeconds: Invalid value: -1"),
    (with_pod_spec(nodeSelector={"a": "b c"}), f"{IN_TEMPLATE}.nodeSelector: Invalid value"),
    (with_pod_spec(tolerations=[{"key": "a", "operator": "Like"}]), 'operator: Unsupported value: "Like"'),
    (with_pod_spec(tolerations=[{"value": "a"}]), "operator must be Exists when `key` is empty"),
    (
        with_pod_spec(tolerations=[{"key": "a", "tolerationSeconds": 5}]),
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
    (
        with_pod_spec(affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}),
        f"{IN_TEMPLATE}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: Required value",
    ),
]

OTHERS: list[tuple[Object, str]] = [
    (
        a_daemonset(updateStrategy=rolling(maxUnavailable=0)),
        "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
    ),
    (
        a_daemonset(updateStrategy=rolling(maxUnavailable=1, maxSurge=1)),
        "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
    ),
    (a_daemonset(updateStrategy=rolling(maxUnavailable="150%")), "must not be greater than 100%"),
    (a_daemonset(updateStrategy={"type": "Now"}), 'spec.updateStrategy.type: Unsupported value: "Now"'),
    (a_daemonset(selector={}), "spec.selector: Invalid value: {}: empty selector is invalid for daemonset"),
    (an_object("Service", "1db", spec={"clusterIP": "None"}), 'metadata.name: Invalid value: "1db": a DNS-1035 label'),
    (an_object("Service", spec={}), "spec.ports: Required value"),
    (an_object("Service", spec={"ports": [{"port": 1}, {"port": 2}]}), "spec.ports[0].name: Required value"),
    (an_object("Service", spec={"ports": [{"port": 70000}]}), "spec.ports[0].port: Invalid value: 70000"),
    (an_object("PersistentVolumeClaim", spec={}), "spec.accessModes: Required value"),
    (
        an_object("PersistentVolumeClaim", spec=a_claim_template(storage="0")["spec"]),
        'spec.resources[storage]: Invalid value: "0": must be greater than zero',
    ),
    (an_object("PersistentVolume", spec={}), "spec: Required value: must specify a volume type"),
    (an_object("Namespace", "a.b"), 'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label'),
    (named(an_object("Node", "n1"), namespace="x"), "metadata.namespace: Forbidden: not allowed on this type"),
    (an_object("Node", spec={"taints": [{"key": "a", "effect": "Never"}]}), 'Unsupported value: "Never"'),
    (an_object("ConfigMap", data={"a/b": ""}), 'data[a/b]: Invalid value: "a/b": a valid config key'),
    (an_object("ConfigMap", data={"..": ""}), "must not be '..'"),
    (an_object("ConfigMap", data={"a": "x" * 1024 * 1024 + "y"}), "data: Too long: 1048577 bytes"),
    (an_object("Secret", data={"k": "plain"}), "data[k]: Invalid value: must be base64"),
    (
        an_object("Lease", spec={"leaseDurationSeconds": 0}),
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
    ),
    (an_object("ControllerRevision", revision=-1, data={}), "revision: Invalid value: -1"),
    (an_object("ControllerRevision", revision=1), "data: Required value: data is mandatory"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "complaint"), [*STATEFUL_SETS, *PODS, *OTHERS])
def test_an_invalid_object_is_refused_in_kubernetes_words(obj: Object, complaint: str) -> None:
    messages = created(obj)
    assert any(complaint in message for message in messages), messages
    assert all("\n" not in message for message in messages)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "Pod", "Service", "Namespace", "Event", "Node"])
def test_an_object_without_anything_is_refused_and_not_a_crash(kind: str) -> None:
    bare = {"apiVersion": an_object(kind).get("apiVersion"), "kind": kind}
    if kind in ("StatefulSet", "DaemonSet"):
        bare["apiVersion"] = "apps/v1"
    result = canonical(bare)
    assert result.causes or validate_create(result.object)


SENTENCE = (
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
    "are forbidden"
)


@pytest.mark.parametrize(
    "patch",
    [
        {"replicas": 5},
        {"ordinals": {"start": 3}},
        {"template": a_template(containers=[a_container(image="db:5.7.23")])},
        {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}},
        {"revisionHistoryLimit": 0},
        {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}},
        {"minReadySeconds": 5},
    ],
)
def test_seven_fields_of_a_statefulset_may_change(patch: Any) -> None:
    assert updated(a_statefulset(), {"spec": patch}) == []


@pytest.mark.parametrize(
    "patch",
    [
        {"serviceName": "other"},
        {"podManagementPolicy": "Parallel"},
        {"volumeClaimTemplates": [a_claim_template()]},
        {
            "selector": {
                "matchLabels": {"app": "db"},
                "matchExpressions": [{"key": "app", "operator": "Exists"}],
            }
        },
    ],
)
def test_all_else_of_a_statefulset_stays(patch: Any) -> None:
    assert updated(a_statefulset(), {"spec": patch}) == [SENTENCE]


def test_an_update_is_checked_like_a_creation() -> None:
    assert updated(a_statefulset(), {"spec": {"replicas": -2}}) == [
        "spec.replicas: Invalid value: -2: must be greater than or equal to 0"
    ]


BOUND_POD = named(a_pod(nodeName="n1", tolerations=[{"key": "a", "operator": "Exists"}]), uid="u1")
CLAIM = an_object("PersistentVolumeClaim", spec=a_claim_template()["spec"])
HEADLESS = an_object("Service", spec={"clusterIP": "None"})


@pytest.mark.parametrize(
    ("old", "patch", "complaint"),
    [
        (BOUND_POD, {"spec": {"containers": [a_container(image="db:6")]}}, None),
        (BOUND_POD, {"spec": {"activeDeadlineSeconds": 30}}, None),
        (
            BOUND_POD,
            {"spec": {"nodeName": "n2"}},
            "spec: Forbidden: pod updates may not change fields other than",
        ),
        (BOUND_POD, {"spec": {"hostname": "x"}}, "changed: hostname"),
        (BOUND_POD, {"spec": {"containers": [a_container(args=["x"])]}}, "changed: containers"),
        (BOUND_POD, {"spec": {"tolerations": []}}, "spec.tolerations: Forbidden"),
        (BOUND_POD, {"metadata": {"uid": "u2"}}, 'metadata.uid: Invalid value: "u2": field is immutable'),
        (a_pod(), {"spec": {"nodeName": "n1"}}, None),
        (a_pod(), {"metadata": {"labels": {"a": "b"}}}, None),
        (a_daemonset(), {"spec": {"selector": {"matchLabels": {"a": "b"}}}}, "spec.selector: Invalid value"),
        (CLAIM, {"spec": {"volumeName": "pv"}}, None),
        (CLAIM, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, None),
        (
            CLAIM,
            {"spec": {"resources": {"requests": {"storage": "1Mi"}}}},
            "can not be less than previous value",
        ),
        (
            CLAIM,
            {"spec": {"accessModes": ["ReadWriteMany"]}},
            "spec: Forbidden: spec is immutable after creation",
        ),
        (
            apply_merge_patch(CLAIM, {"spec": {"volumeName": "a"}}),
            {"spec": {"volumeName": "b"}},
            "spec: Forbidden",
        ),
        (HEADLESS, {"spec": {"clusterIP": "10.0.0.1", "clusterIPs": None}}, "spec.clusterIPs[0]"),
        (HEADLESS, {"spec": {"clusterIP": None, "clusterIPs": None}}, "primary clusterIP can not be unset"),
        (HEADLESS, {"spec": {"publishNotReadyAddresses": True}}, None),
        (an_object("Secret"), {"type": "x"}, 'type: Invalid value: "x": field is immutable'),
        (an_object("Secret"), {"data": {"a": "dg=="}}, None),
        (
            an_object("Secret", immutable=True),
            {"data": {"a": "dg=="}},
            "data: Forbidden: field is immutable when",
        ),
        (an_object("ConfigMap", immutable=True), {"immutable": False}, "immutable: Forbidden"),
        (an_object("ControllerRevision", revision=1, data={"a": 1}), {"revision": 2}, None),
        (
            an_object("ControllerRevision", revision=1, data={"a": 1}),
            {"data": {"a": 2}},
            "data: Invalid value",
        ),
        (
            named(an_object("ConfigMap"), deletionTimestamp="2026-11-23T00:00:00Z"),
            {"metadata": {"finalizers": ["a/b"]}},
            "metadata.finalizers: Forbidden: no new finalizers can be added",
        ),
    ],
)
def test_an_update_may_change_only_what_kubernetes_lets_change(
    old: Object, patch: Any, complaint: str | None
) -> None:
    messages = updated(old, patch)
    if complaint is None:
        assert messages == []
    else:
        assert any(complaint in message for message in messages), messages
