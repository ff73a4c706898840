"""Defaults: what Kubernetes 1.36 fills in where a manifest says nothing.

The rules are those of pkg/apis/core/v1/defaults.go and pkg/apis/apps/v1/defaults.go (SetDefaults_*), with the few
that the registries' strategies add before they store. Each function takes a piece without nulls or empty values
(schemas.canonical) and returns it with defaults; `a | b` means that b's fields win.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from schemas.objects import Object

Part = dict[str, Any]

_POD_SPEC: Part = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
_CONTAINER: Part = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBE: Part = {"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1}
_HTTP_GET: Part = {"path": "/", "scheme": "HTTP"}
_RETENTION: Part = {"whenDeleted": "Retain", "whenScaled": "Retain"}
_MODE: Part = {"defaultMode": 0o644}
_EXPIRATION: Part = {"expirationSeconds": 3600}
_AZURE_DISK: Part = {"cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": False}
_RBAC_GROUP = "rbac.authorization.k8s.io"
_NO_REPLICAS: Part = {"availableReplicas": 0, "replicas": 0}
_NO_DAEMONS: Part = {
    "currentNumberScheduled": 0,
    "desiredNumberScheduled": 0,
    "numberMisscheduled": 0,
    "numberReady": 0,
}
_NO_DISRUPTIONS: Part = {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}
"""Statuses before a controller has written any: the numbers that Go writes though they are 0 (no omitempty)."""
_RBD: Part = {"keyring": "/etc/ceph/keyring", "pool": "rbd", "user": "admin"}


def with_defaults(obj: Object) -> Object:
    """Return an object of any kind of the table with its defaults. Applying it twice changes nothing more."""
    default = _BY_KIND.get(obj["kind"])
    return default(obj) if default else obj


def stateful_set_defaults(obj: Object) -> Object:
    """SetDefaults_StatefulSet. `rollingUpdate` stays away where only the type RollingUpdate is given."""
    spec = {"podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10} | obj["spec"]
    strategy = spec.get("updateStrategy") or {}
    if not strategy.get("type"):
        strategy = {"rollingUpdate": {}} | strategy | {"type": "RollingUpdate"}
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        rolling = {"maxUnavailable": 1, "partition": 0} | strategy["rollingUpdate"]
        strategy = strategy | {"rollingUpdate": rolling}
    spec["updateStrategy"] = strategy
    spec["persistentVolumeClaimRetentionPolicy"] = _RETENTION | spec.get(
        "persistentVolumeClaimRetentionPolicy", {}
    )
    if "volumeClaimTemplates" in spec:
        claims = [_claim(claim) for claim in spec["volumeClaimTemplates"]]
        spec["volumeClaimTemplates"] = [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim"} | claim for claim in claims
        ]
    status = _NO_REPLICAS | obj.get("status", {})
    return obj | {"spec": spec | {"template": _template(spec["template"])}, "status": status}


def daemon_set_defaults(obj: Object) -> Object:
    """SetDefaults_DaemonSet: a rolling update of one node at a time."""
    spec = {"revisionHistoryLimit": 10} | obj["spec"]
    strategy = {"type": "RollingUpdate"} | (spec.get("updateStrategy") or {})
    if strategy["type"] == "RollingUpdate":
        rolling = {"maxSurge": 0, "maxUnavailable": 1} | strategy.get("rollingUpdate", {})
        strategy = strategy | {"rollingUpdate": rolling}
    spec = spec | {"template": _template(spec["template"]), "updateStrategy": strategy}
    return obj | {"spec": spec, "status": _NO_DAEMONS | obj.get("status", {})}


def pod_defaults(obj: Object) -> Object:
    """SetDefaults_Pod: beyond those of a template, requests follow limits and host ports follow ports."""
    spec: Part = {"enableServiceLinks": True} | _pod_spec(obj.get("spec", {}))
    for field in ("containers", "initContainers"):
        if field in spec:
            spec[field] = [_with_requests(container) for container in spec[field]]
            if spec.get("hostNetwork"):
                spec[field] = [_with_host_ports(container) for container in spec[field]]
    return obj | {"spec": spec}


def service_defaults(obj: Object) -> Object:
    """SetDefaults_Service, and the address family and clusterIPs that the registry adds."""
    spec = {"sessionAffinity": "None", "type": "ClusterIP"} | obj.get("spec", {})
    if "ports" in spec:
        spec["ports"] = [_service_port(port) for port in spec["ports"]]
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif "timeoutSeconds" not in spec.get("sessionAffinityConfig", {}).get("clientIP", {}):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    kind = spec["type"]
    if kind != "ExternalName":
        families = {
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
        }
        spec = families | spec
    if kind == "LoadBalancer":
        spec = {"allocateLoadBalancerNodePorts": True} | spec
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and "externalIPs" in spec):
        spec = {"externalTrafficPolicy": "Cluster"} | spec
    if "clusterIP" in spec:
        spec = {"clusterIPs": [spec["clusterIP"]]} | spec
    return obj | {"spec": spec, "status": {"loadBalancer": {}} | obj.get("status", {})}


def claim_defaults(obj: Object) -> Object:
    """SetDefaults_PersistentVolumeClaim: a file system, pending until it is bound."""
    return _claim(obj)


def volume_defaults(obj: Object) -> Object:
    """SetDefaults_PersistentVolume: a file system that is kept when its claim goes."""
    spec = {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"} | obj.get("spec", {})
    return obj | {"spec": _with_sources(spec), "status": {"phase": "Pending"} | obj.get("status", {})}


def namespace_defaults(obj: Object) -> Object:
    """SetDefaults_Namespace: the label that lets selectors name it; the phase Active and, until it is deleted, the
    finalizer that keeps it while something is in it (registry/core/namespace/strategy.go)."""
    name = obj["metadata"].get("name", "")
    labels = obj["metadata"].get("labels", {}) | {"kubernetes.io/metadata.name": name}
    status = {"phase": "Active"} | obj.get("status", {})
    spec = obj.get("spec", {})
    if "deletionTimestamp" not in obj["metadata"]:
        spec = {"finalizers": ["kubernetes"]} | spec
    return obj | {"metadata": obj["metadata"] | {"labels": labels}, "spec": spec, "status": status}


def node_defaults(obj: Object) -> Object:
    """SetDefaults_NodeStatus: all of the capacity may be allocated."""
    status = obj.get("status", {})
    if "capacity" in status and "allocatable" not in status:
        return obj | {"status": status | {"allocatable": status["capacity"]}}
    return obj


def secret_defaults(obj: Object) -> Object:
    """The type Opaque, and stringData moved into data (registry/core/secret: it is written, never read)."""
    result: Object = {"type": "Opaque"} | obj
    written: dict[str, str] = result.pop("stringData", {})
    if written:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in written.items()}
        result["data"] = result.get("data", {}) | encoded
    return result


def _claim(obj: Part) -> Part:
    spec = {"resources": {}, "volumeMode": "Filesystem"} | obj.get("spec", {})
    return obj | {"spec": spec, "status": {"phase": "Pending"} | obj.get("status", {})}


def _template(template: Part) -> Part:
    return {"metadata": {}} | template | {"spec": _pod_spec(template.get("spec", {}))}


def _pod_spec(spec: Part) -> Part:
    result = _POD_SPEC | spec
    for field in ("containers", "initContainers", "ephemeralContainers"):
        if field in result:
            result[field] = [_container(container) for container in result[field]]
    if "volumes" in result:
        result["volumes"] = [_volume(volume) for volume in result["volumes"]]
    account = result.get("serviceAccountName") or result.get("serviceAccount")
    return result | {"serviceAccount": account, "serviceAccountName": account} if account else result


def _container(container: Part) -> Part:
    result: Part = {"imagePullPolicy": pull_policy_of(container.get("image", ""))} | _CONTAINER | container
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if field in result:
            result[field] = _probe(result[field])
    if "ports" in result:
        result["ports"] = [{"protocol": "TCP"} | port for port in result["ports"]]
    if "env" in result:
        result["env"] = [_env(variable) for variable in result["env"]]
    if "lifecycle" in result:
        hooks = ("postStart", "preStop")
        lifecycle = result["lifecycle"]
        result["lifecycle"] = lifecycle | {
            hook: _handler(lifecycle[hook]) for hook in hooks if hook in lifecycle
        }
    return result


def pull_policy_of(image: str) -> str:
    """Return `Always` for the tag latest, given or implied, else `IfNotPresent` (SetDefaults_Container)."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2] or ("" if digest else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _probe(probe: Part) -> Part:
    result = _handler(_PROBE | probe)
    return result | {"grpc": {"service": ""} | result["grpc"]} if "grpc" in result else result


def _handler(handler: Part) -> Part:
    return handler | {"httpGet": _HTTP_GET | handler["httpGet"]} if "httpGet" in handler else handler


def _env(variable: Part) -> Part:
    source = variable.get("valueFrom")
    return variable | {"valueFrom": _field_source(source)} if source else variable


def _field_source(source: Part) -> Part:
    """Fill in a reference to a field of the pod, of an environment variable or of a downward API file."""
    if "fieldRef" in source:
        return source | {"fieldRef": {"apiVersion": "v1"} | source["fieldRef"]}
    if "resourceFieldRef" in source:
        return source | {"resourceFieldRef": {"divisor": "0"} | source["resourceFieldRef"]}
    return source


def _volume(volume: Part) -> Part:
    return {"emptyDir": {}} | volume if len(volume) == 1 else _with_sources(volume)


def _with_sources(volume: Part) -> Part:
    """Fill in the sources of a volume of a pod, or of a PersistentVolume's spec."""
    return volume | {source: _SOURCES[source](volume[source]) for source in _SOURCES if source in volume}


def _downward(source: Part) -> Part:
    return (
        source | {"items": [_field_source(item) for item in source["items"]]} if "items" in source else source
    )


def _projection(projection: Part) -> Part:
    if "serviceAccountToken" in projection:
        return projection | {"serviceAccountToken": _EXPIRATION | projection["serviceAccountToken"]}
    if "downwardAPI" in projection:
        return projection | {"downwardAPI": _downward(projection["downwardAPI"])}
    return projection


def _projected(source: Part) -> Part:
    result = _MODE | source
    return result | {"sources": [_projection(projection) for projection in result.get("sources", [])]}


def _ephemeral(source: Part) -> Part:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return source
    spec = {"resources": {}, "volumeMode": "Filesystem"} | template.get("spec", {})
    return source | {"volumeClaimTemplate": {"metadata": {}} | template | {"spec": spec}}


_SOURCES: dict[str, Callable[[Part], Part]] = {
    "azureDisk": lambda source: _AZURE_DISK | source,
    "configMap": lambda source: _MODE | source,
    "downwardAPI": lambda source: _downward(_MODE | source),
    "ephemeral": _ephemeral,
    "hostPath": lambda source: {"type": ""} | source,
    "image": lambda source: {"pullPolicy": pull_policy_of(source.get("reference", ""))} | source,
    "iscsi": lambda source: {"iscsiInterface": "default"} | source,
    "projected": _projected,
    "rbd": lambda source: _RBD | source,
    "scaleIO": lambda source: {"fsType": "xfs", "storageMode": "ThinProvisioned"} | source,
    "secret": lambda source: _MODE | source,
}


def _with_requests(container: Part) -> Part:
    resources = container["resources"]
    if "limits" not in resources:
        return container
    return container | {
        "resources": resources | {"requests": resources["limits"] | resources.get("requests", {})}
    }


def _with_host_ports(container: Part) -> Part:
    if "ports" not in container:
        return container
    return container | {"ports": [{"hostPort": port["containerPort"]} | port for port in container["ports"]]}


def _service_port(port: Part) -> Part:
    result = {"protocol": "TCP"} | port
    return result if result.get("targetPort") else result | {"targetPort": port["port"]}


def budget_defaults(obj: Object) -> Object:
    """A PodDisruptionBudget that nobody has counted yet."""
    return obj | {"status": _NO_DISRUPTIONS | obj.get("status", {})}


def storage_class_defaults(obj: Object) -> Object:
    """SetDefaults_StorageClass (pkg/apis/storage/v1/defaults.go)."""
    return {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"} | obj


def priority_class_defaults(obj: Object) -> Object:
    """SetDefaults_PriorityClass (pkg/apis/scheduling/v1/defaults.go)."""
    return {"preemptionPolicy": "PreemptLowerPriority"} | obj


def endpoint_slice_defaults(obj: Object) -> Object:
    """SetDefaults_EndpointPort (pkg/apis/discovery/v1/defaults.go)."""
    ports = [{"name": "", "protocol": "TCP"} | port for port in obj.get("ports", ())]
    return obj | {"ports": ports} if ports else obj


def binding_defaults(obj: Object) -> Object:
    """SetDefaults_RoleBinding and _Subject (pkg/apis/rbac/v1/defaults.go)."""
    subjects = [
        ({} if subject.get("kind") == "ServiceAccount" else {"apiGroup": _RBAC_GROUP}) | subject
        for subject in obj.get("subjects", ())
    ]
    result = obj | {"roleRef": {"apiGroup": _RBAC_GROUP} | obj["roleRef"]}
    return result | {"subjects": subjects} if subjects else result


_BY_KIND: dict[str, Callable[[Object], Object]] = {
    "StatefulSet": stateful_set_defaults,
    "DaemonSet": daemon_set_defaults,
    "Pod": pod_defaults,
    "Service": service_defaults,
    "PersistentVolumeClaim": claim_defaults,
    "PersistentVolume": volume_defaults,
    "Namespace": namespace_defaults,
    "Node": node_defaults,
    "Secret": secret_defaults,
    "PodDisruptionBudget": budget_defaults,
    "StorageClass": storage_class_defaults,
    "PriorityClass": priority_class_defaults,
    "EndpointSlice": endpoint_slice_defaults,
    "RoleBinding": binding_defaults,
    "ClusterRoleBinding": binding_defaults,
}
