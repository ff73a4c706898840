"""The table of kinds. Adding a kind is adding a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, with the names that Kubernetes' discovery gives it.

    `definition` is the key of its schema in `schemas/kubernetes-1.36.json`.
    """

    kind: str
    group: str
    version: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool
    definition: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`apps/statefulsets`; the core group is spelled `core`."""
        return f"{self.group or 'core'}/{self.plural}"


_APPS = "io.k8s.api.apps.v1."
_CORE = "io.k8s.api.core.v1."
_RBAC = "io.k8s.api.rbac.v1."
_RBAC_GROUP = "rbac.authorization.k8s.io"

STATEFUL_SET = Kind(
    "StatefulSet", "apps", "v1", "statefulsets", "statefulset", ("sts",), True, _APPS + "StatefulSet"
)
DAEMON_SET = Kind("DaemonSet", "apps", "v1", "daemonsets", "daemonset", ("ds",), True, _APPS + "DaemonSet")
CONTROLLER_REVISION = Kind(
    "ControllerRevision",
    "apps",
    "v1",
    "controllerrevisions",
    "controllerrevision",
    (),
    True,
    _APPS + "ControllerRevision",
)
POD = Kind("Pod", "", "v1", "pods", "pod", ("po",), True, _CORE + "Pod")
NODE = Kind("Node", "", "v1", "nodes", "node", ("no",), False, _CORE + "Node")
CLAIM = Kind(
    "PersistentVolumeClaim",
    "",
    "v1",
    "persistentvolumeclaims",
    "persistentvolumeclaim",
    ("pvc",),
    True,
    _CORE + "PersistentVolumeClaim",
)
VOLUME = Kind(
    "PersistentVolume",
    "",
    "v1",
    "persistentvolumes",
    "persistentvolume",
    ("pv",),
    False,
    _CORE + "PersistentVolume",
)
SERVICE = Kind("Service", "", "v1", "services", "service", ("svc",), True, _CORE + "Service")
NAMESPACE = Kind("Namespace", "", "v1", "namespaces", "namespace", ("ns",), False, _CORE + "Namespace")
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps", "configmap", ("cm",), True, _CORE + "ConfigMap")
SECRET = Kind("Secret", "", "v1", "secrets", "secret", (), True, _CORE + "Secret")
EVENT = Kind("Event", "", "v1", "events", "event", ("ev",), True, _CORE + "Event")
LEASE = Kind(
    "Lease", "coordination.k8s.io", "v1", "leases", "lease", (), True, "io.k8s.api.coordination.v1.Lease"
)
ENDPOINT_SLICE = Kind(
    "EndpointSlice",
    "discovery.k8s.io",
    "v1",
    "endpointslices",
    "endpointslice",
    (),
    True,
    "io.k8s.api.discovery.v1.EndpointSlice",
)
SERVICE_ACCOUNT = Kind(
    "ServiceAccount", "", "v1", "serviceaccounts", "serviceaccount", ("sa",), True, _CORE + "ServiceAccount"
)
BUDGET = Kind(
    "PodDisruptionBudget",
    "policy",
    "v1",
    "poddisruptionbudgets",
    "poddisruptionbudget",
    ("pdb",),
    True,
    "io.k8s.api.policy.v1.PodDisruptionBudget",
)
STORAGE_CLASS = Kind(
    "StorageClass",
    "storage.k8s.io",
    "v1",
    "storageclasses",
    "storageclass",
    ("sc",),
    False,
    "io.k8s.api.storage.v1.StorageClass",
)
PRIORITY_CLASS = Kind(
    "PriorityClass",
    "scheduling.k8s.io",
    "v1",
    "priorityclasses",
    "priorityclass",
    ("pc",),
    False,
    "io.k8s.api.scheduling.v1.PriorityClass",
)
ROLE = Kind("Role", _RBAC_GROUP, "v1", "roles", "role", (), True, _RBAC + "Role")
ROLE_BINDING = Kind(
    "RoleBinding", _RBAC_GROUP, "v1", "rolebindings", "rolebinding", (), True, _RBAC + "RoleBinding"
)
CLUSTER_ROLE = Kind(
    "ClusterRole", _RBAC_GROUP, "v1", "clusterroles", "clusterrole", (), False, _RBAC + "ClusterRole"
)
CLUSTER_ROLE_BINDING = Kind(
    "ClusterRoleBinding",
    _RBAC_GROUP,
    "v1",
    "clusterrolebindings",
    "clusterrolebinding",
    (),
    False,
    _RBAC + "ClusterRoleBinding",
)

KINDS: tuple[Kind, ...] = (
    STATEFUL_SET,
    DAEMON_SET,
    CONTROLLER_REVISION,
    POD,
    NODE,
    CLAIM,
    VOLUME,
    SERVICE,
    NAMESPACE,
    CONFIG_MAP,
    SECRET,
    EVENT,
    LEASE,
    ENDPOINT_SLICE,
    SERVICE_ACCOUNT,
    BUDGET,
    STORAGE_CLASS,
    PRIORITY_CLASS,
    ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
)

BY_RESOURCE: dict[str, Kind] = {kind.resource: kind for kind in KINDS}
BY_NAME: dict[tuple[str, str], Kind] = {(kind.api_version, kind.kind): kind for kind in KINDS}
_BY_WORD: dict[str, Kind] = {
    word: kind
    for kind in reversed(KINDS)
    for word in (
        kind.kind.lower(),
        kind.plural,
        kind.singular,
        *kind.short_names,
        f"{kind.plural}.{kind.group}",
    )
}


def kind_named(word: str) -> Kind | None:
    """Return the kind that a person means by `sts`, `statefulset`, `StatefulSets` or `statefulsets.apps`."""
    return _BY_WORD.get(word.lower())
