"""Objects are stored as Kubernetes 1.36 would give them back, and storing twice changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.errors import BadRequest
from schemas.patching import strictly_equal
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


def container_of(obj: Any) -> Any:
    return obj["spec"]["template"]["spec"]["containers"][0]


def test_a_statefulset_gets_the_defaults_of_kubernetes() -> None:
    assert stored(a_statefulset()) == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "podManagementPolicy": "OrderedReady",
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "db"}},
            "serviceName": "db",
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {
                    "containers": [
                        {
                            "image": "db:5.7.2",
                            "imagePullPolicy": "IfNotPresent",
                            "name": "db",
                            "resources": {},
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                        }
                    ],
                    "dnsPolicy": "ClusterFirst",
                    "restartPolicy": "Always",
                    "schedulerName": "default-scheduler",
                    "securityContext": {},
                    "terminationGracePeriodSeconds": 30,
                },
            },
            "updateStrategy": {
                "rollingUpdate": {"maxUnavailable": 1, "partition": 0},
                "type": "RollingUpdate",
            },
        },
        "status": {"availableReplicas": 0, "replicas": 0},
    }


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ({}, {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "partition": 0}}),
        ({"type": "RollingUpdate"}, {"type": "RollingUpdate"}),
        ({"type": "OnDelete"}, {"type": "OnDelete"}),
        (
            {"rollingUpdate": {"partition": 2}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "partition": 2}},
        ),
        (
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%", "partition": 0}},
        ),
    ],
)
def test_the_update_strategy_of_a_statefulset_is_filled_in_as_kubernetes_does(
    written: Any, kept: Any
) -> None:
    assert stored(a_statefulset(updateStrategy=written))["spec"]["updateStrategy"] == kept


def test_a_claim_template_is_a_whole_pending_claim() -> None:
    (claim,) = stored(a_statefulset(volumeClaimTemplates=[a_claim_template(storage="1024Mi")]))["spec"][
        "volumeClaimTemplates"
    ]
    assert claim == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    }


def test_a_daemonset_gets_the_defaults_of_kubernetes() -> None:
    spec = stored(a_daemonset())["spec"]
    assert spec["revisionHistoryLimit"] == 10
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }
    assert stored(a_daemonset(updateStrategy={"type": "OnDelete"}))["spec"]["updateStrategy"] == {
        "type": "OnDelete"
    }


@pytest.mark.parametrize(
    ("obj", "status"),
    [
        (
            a_daemonset(),
            {
                "currentNumberScheduled": 0,
                "desiredNumberScheduled": 0,
                "numberMisscheduled": 0,
                "numberReady": 0,
            },
        ),
        (an_object("Service", spec={"clusterIP": "None"}), {"loadBalancer": {}}),
        (
            an_object("PodDisruptionBudget", spec={}),
            {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        ),
    ],
)
def test_a_status_that_nobody_has_written_has_the_numbers_that_go_writes(obj: Any, status: Any) -> None:
    assert stored(obj)["status"] == status
    assert stored({**obj, "status": {}})["status"] == status


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("db", "Always"),
        ("db:latest", "Always"),
        ("db:5.7", "IfNotPresent"),
        ("host:5000/db", "Always"),
        ("host:5000/db:1", "IfNotPresent"),
        ("db@sha256:0123", "IfNotPresent"),
        ("db:latest@sha256:0123", "Always"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    obj = stored(a_statefulset(template=a_template(containers=[a_container(image=image)])))
    assert container_of(obj)["imagePullPolicy"] == policy


def test_probes_ports_and_field_references_are_filled_in() -> None:
    written = a_container(
        readinessProbe={"httpGet": {"port": 80}, "periodSeconds": 1},
        livenessProbe={"grpc": {"port": 1}},
        ports=[{"containerPort": 80}],
        env=[
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
        lifecycle={"preStop": {"httpGet": {"port": "web"}}},
    )
    container = container_of(stored(a_statefulset(template=a_template(containers=[written]))))
    counts = {"failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1}
    http = {"path": "/", "scheme": "HTTP"}
    assert container["readinessProbe"] == counts | {"periodSeconds": 1, "httpGet": http | {"port": 80}}
    assert container["livenessProbe"] == counts | {"periodSeconds": 10, "grpc": {"port": 1, "service": ""}}
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["env"][0]["valueFrom"] == {
        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}
    }
    assert container["env"][1]["valueFrom"] == {
        "resourceFieldRef": {"divisor": "0", "resource": "limits.cpu"}
    }
    assert container["lifecycle"]["preStop"] == {"httpGet": http | {"port": "web"}}


def test_volumes_are_filled_in() -> None:
    volumes = [
        {"name": "scratch"},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "host", "hostPath": {"path": "/x"}},
        {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    ]
    found = stored(a_statefulset(template=a_template(volumes=volumes)))["spec"]["template"]["spec"]["volumes"]
    assert found == [
        {"name": "scratch", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "c", "defaultMode": 420}},
        {"name": "host", "hostPath": {"path": "/x", "type": ""}},
        {
            "name": "all",
            "projected": {
                "defaultMode": 420,
                "sources": [{"serviceAccountToken": {"expirationSeconds": 3600, "path": "t"}}],
            },
        },
    ]


def test_a_pod_requests_what_it_is_limited_to_and_a_template_does_not() -> None:
    limited = a_container(resources={"limits": {"cpu": "1000m"}})
    pod = stored(a_pod(containers=[limited]))["spec"]
    assert pod["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    assert pod["enableServiceLinks"] is True
    template = container_of(stored(a_statefulset(template=a_template(containers=[limited]))))
    assert template["resources"] == {"limits": {"cpu": "1"}}


def test_a_headless_service_gets_the_defaults_of_kubernetes() -> None:
    spec = {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}
    assert stored(an_object("Service", spec=spec))["spec"] == {
        "clusterIP": "None",
        "clusterIPs": ["None"],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "db"},
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (an_object("Namespace"), {"status": {"phase": "Active"}}),
        (an_object("Secret", stringData={"k": "v"}), {"data": {"k": "dg=="}, "type": "Opaque"}),
        (an_object("PersistentVolumeClaim", spec={}), {"status": {"phase": "Pending"}}),
        (
            an_object("PersistentVolume", spec={"hostPath": {"path": "/x"}}),
            {
                "spec": {
                    "hostPath": {"path": "/x", "type": ""},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "volumeMode": "Filesystem",
                }
            },
        ),
        (
            an_object("Node", status={"capacity": {"cpu": "4000m"}}),
            {"status": {"capacity": {"cpu": "4"}, "allocatable": {"cpu": "4"}}},
        ),
        (an_object("ConfigMap", data={"a": "", "b": None}), {"data": {"a": ""}}),
        (
            an_object("ControllerRevision", revision=1, data={"spec": {"x": None, "y": ""}}),
            {"data": {"spec": {"x": None, "y": ""}}},
        ),
        (
            an_object("Lease", spec={"leaseTransitions": 0, "holderIdentity": ""}),
            {"spec": {"leaseTransitions": 0, "holderIdentity": ""}},
        ),
    ],
    ids=lambda value: value.get("kind", "") if isinstance(value, dict) else "",
)
def test_other_kinds_get_their_defaults(obj: Any, expected: Any) -> None:
    found = stored(obj)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ({"replicas": 0}, {"replicas": 0}),
        ({"replicas": None}, {"replicas": 1}),
        ({"replicas": 3.0}, {"replicas": 3}),
        ({"minReadySeconds": 0}, {"minReadySeconds": ...}),
        ({"volumeClaimTemplates": []}, {"volumeClaimTemplates": ...}),
        ({"revisionHistoryLimit": 0}, {"revisionHistoryLimit": 0}),
        ({"serviceName": ""}, {"serviceName": ...}),
        ({"ordinals": {}}, {"ordinals": {}}),
        ({"ordinals": {"start": 0}}, {"ordinals": {"start": 0}}),
    ],
)
def test_an_empty_value_stays_only_where_it_says_something(written: Any, kept: Any) -> None:
    spec = stored(a_statefulset(**written))["spec"]
    for name, value in kept.items():
        assert spec.get(name, ...) == value


def test_an_empty_storage_class_is_kept_and_an_empty_selector_dropped() -> None:
    claim = a_claim_template()
    claim["spec"]["storageClassName"] = ""
    spec = stored(
        a_statefulset(volumeClaimTemplates=[claim], template=a_template(nodeSelector={}, volumes=[]))
    )["spec"]
    assert spec["volumeClaimTemplates"][0]["spec"]["storageClassName"] == ""
    assert "nodeSelector" not in spec["template"]["spec"]
    assert "volumes" not in spec["template"]["spec"]


def test_an_unknown_field_is_refused_warned_of_or_ignored() -> None:
    obj = a_statefulset(replica=3)
    strict = canonical(obj)
    assert [str(cause) for cause in strict.causes] == [
        "spec.replica: unknown field 'replica'; did you mean 'replicas'?"
    ]
    warned = canonical(obj, "Warn")
    assert warned.warnings == ("unknown field 'spec.replica' is left out",)
    assert warned.causes == ()
    ignored = canonical(obj, "Ignore")
    assert ignored.warnings == ()
    assert ignored.object == warned.object == stored(a_statefulset())


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"replicas": "3"}, 'spec.replicas: Invalid value: "3": must be an integer'),
        ({"replicas": ""}, 'spec.replicas: Invalid value: "": must be an integer'),
        ({"replicas": 2**31}, "spec.replicas: Invalid value: 2147483648: must be 2147483647 at most"),
        ({"replicas": 1.5}, "spec.replicas: Invalid value: 1.5: must be an integer"),
        ({"selector": None}, "spec.selector: Required value"),
        ({"template": {"spec": {"containers": {}}}}, "must be an array"),
        (
            {"template": a_template(containers=[None])},
            "spec.template.spec.containers[0]: Invalid value: null",
        ),
        (
            {"template": a_template(containers=[a_container(resources={"limits": {"cpu": "much"}})])},
            "spec.template.spec.containers[0].resources.limits.cpu: Invalid value: 'much' is no quantity",
        ),
        ({"updateStrategy": {"rollingUpdate": {"maxUnavailable": []}}}, "must be an integer or a string"),
        (
            {"template": {"metadata": {"labels": {"app": 1}}, "spec": {"containers": [a_container()]}}},
            "template.metadata.labels.app: Invalid value: 1: must be a string",
        ),
    ],
)
def test_a_wrong_shape_names_the_field_the_value_and_what_is_accepted(spec: Any, complaint: str) -> None:
    messages = [str(cause) for cause in canonical(a_statefulset(**spec)).causes]
    assert any(complaint in message for message in messages), messages


def test_a_kind_that_is_unknown_is_refused() -> None:
    with pytest.raises(BadRequest, match="is unknown"):
        canonical({"apiVersion": "batch/v1", "kind": "Job"})


def test_what_nothing_acts_on_is_warned_of() -> None:
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "h"}]}}
    warnings = canonical(
        a_statefulset(template=a_template(affinity=affinity, topologySpreadConstraints=spread))
    ).warnings
    assert [warning.partition(" ")[0] for warning in warnings] == [
        "spec.template.spec.affinity.podAntiAffinity",
        "spec.template.spec.topologySpreadConstraints",
    ]
    assert canonical(a_statefulset()).warnings == ()


_noise = st.sampled_from([None, "", 0, False, [], {}, "1", 7, 2.0, "500m", True])
_spec = st.dictionaries(
    st.sampled_from(
        ["replicas", "minReadySeconds", "serviceName", "ordinals", "updateStrategy", "x", "selector"]
    ),
    _noise,
)
_pod_spec = st.dictionaries(
    st.sampled_from(
        ["hostNetwork", "volumes", "nodeSelector", "priority", "securityContext", "tolerations", "hostname"]
    ),
    _noise,
)
_container = st.dictionaries(
    st.sampled_from(
        ["args", "stdin", "resources", "readinessProbe", "ports", "env", "workingDir", "securityContext"]
    ),
    _noise,
)


@given(_spec, _pod_spec, _container)
def test_the_canonical_form_of_a_canonical_object_is_itself(spec: Any, pod: Any, container: Any) -> None:
    obj = a_statefulset(template=a_template(**pod | {"containers": [a_container(**container)]}), **spec)
    before = copy.deepcopy(obj)
    once = canonical(obj, "Ignore")
    assert strictly_equal(obj, before)
    if not once.causes:
        again = canonical(once.object)
        assert again.causes == ()
        assert strictly_equal(again.object, once.object)


def test_a_field_that_the_agent_acts_on_brings_no_warning() -> None:
    pod = a_pod()
    fields = {
        "resources": {"limits": {"cpu": "1", "memory": "64Mi", "ephemeral-storage": "1Gi"}},
        "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "d", "mountPath": "/d", "readOnly": True}],
        "terminationMessagePath": "/tmp/end",
        "readinessProbe": {"grpc": {"port": 1}},
    }
    pod["spec"]["containers"] = [{**pod["spec"]["containers"][0], **fields}]
    pod["spec"] |= {"securityContext": {"fsGroup": 1}, "activeDeadlineSeconds": 1}
    assert canonical(pod).warnings == ()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"securityContext": {"procMount": "Unmasked"}}, "securityContext.procMount"),
        ({"stdinOnce": True, "volumeDevices": [{"name": "d", "devicePath": "/dev/d"}]}, "volumeDevices"),
    ],
)
def test_a_field_of_a_container_that_nothing_acts_on_is_told(fields: dict[str, Any], path: str) -> None:
    """An operator who sets a limit that nobody enforces must hear of it when they apply it."""
    pod = a_pod()
    pod["spec"]["containers"] = [{**pod["spec"]["containers"][0], **fields}]
    at = f"spec.containers[0].{path}"
    assert canonical(pod).warnings == (f"{at} is stored, but nothing acts on it (see docs/differences.md)",)


@pytest.mark.parametrize("fields", [{"privileged": True}, {"capabilities": {"add": ["NET_ADMIN"]}}])
def test_a_field_that_only_containers_act_on_is_told_as_that(fields: dict[str, Any]) -> None:
    pod = a_pod()
    pod["spec"]["containers"] = [{**pod["spec"]["containers"][0], "securityContext": fields}]
    (name,) = fields
    at = f"spec.containers[0].securityContext.{name}"
    assert canonical(pod).warnings == (
        f"{at} is stored, and acted on where pods are containers (up --runtime docker) only",
    )


def test_nothing_is_told_of_what_scheduler_and_agents_act_on() -> None:
    pod = a_pod()
    pod["spec"]["containers"] = [{**pod["spec"]["containers"][0], "stdin": True, "tty": True}]
    pod["spec"] |= {
        "overhead": {"cpu": "1"},
        "readinessGates": [{"conditionType": "a.example/b"}],
        "resources": {"requests": {"cpu": "1"}},
        "schedulingGates": [{"name": "a.example/b"}],
    }
    assert canonical(pod).warnings == ()
