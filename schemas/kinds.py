"""The tables of kinds. Adding a kind is adding a row.

`KINDS` are stored in the log. `ANSWERED` are known to the HTTP API only: nothing of them is ever stored, and nothing
outside the API meets them. `SERVED` is both, and `BY_PATH` finds a row by what stands in a URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
"""What can be done with an ordinary kind, in the words and the order of Kubernetes' discovery."""
CREATE = ("create",)
_READ_AND_WRITE = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object that has a path of its own: `/api/v1/namespaces/default/pods/db-0/eviction`.

    `kind`, `group` and `version` say what travels there; an empty `kind` is the object's own. `definition` is the
    schema of that, empty where it has none (what stands in a query only, as the options of exec).
    """

    name: str
    verbs: tuple[str, ...] = _READ_AND_WRITE
    kind: str = ""
    group: str = ""
    version: str = ""
    definition: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, with the names that Kubernetes' discovery gives it.

    `definition` is the key of its schema in `schemas/kubernetes-1.36.json`. `subresources` are keys of `SUBRESOURCES`.

    Of a kind in `ANSWERED` one of four things is true, and its row says which:

    * `refusal` is set: its lists and watches are empty, a get is NotFound, and a create is refused with that sentence;
    * `stored_as` is set: it is another name (and another shape) of the stored kind with that resource;
    * `derived_from` is set: what there is of it follows from the stored kind with that resource, and is only read;
    * none of these: its only verb is `create`, and the answer to it is computed (reviews, bindings).
    """

    kind: str
    group: str
    version: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool
    definition: str
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    refusal: str = ""
    stored_as: str = ""
    derived_from: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`apps/statefulsets`; the core group is spelled `core`."""
        return f"{self.group or 'core'}/{self.plural}"

    @property
    def is_stored(self) -> bool:
        return self.resource in BY_RESOURCE


SUBRESOURCES: Mapping[str, Subresource] = {
    row.name: row
    for row in (
        Subresource("status"),
        Subresource(
            "scale", _READ_AND_WRITE, "Scale", "autoscaling", "v1", "io.k8s.api.autoscaling.v1.Scale"
        ),
        Subresource("eviction", CREATE, "Eviction", "policy", "v1", "io.k8s.api.policy.v1.Eviction"),
        Subresource("binding", CREATE, "Binding", "", "v1", "io.k8s.api.core.v1.Binding"),
        Subresource(
            "token",
            CREATE,
            "TokenRequest",
            "authentication.k8s.io",
            "v1",
            "io.k8s.api.authentication.v1.TokenRequest",
        ),
        Subresource("log", ("get",)),
        Subresource("exec", ("create", "get"), "PodExecOptions", "", "v1"),
        Subresource("attach", ("create", "get"), "PodAttachOptions", "", "v1"),
        Subresource("portforward", ("create", "get"), "PodPortForwardOptions", "", "v1"),
    )
}

SCALED = Kind(
    "Scale", "autoscaling", "v1", "scales", "scale", (), True, SUBRESOURCES["scale"].definition, verbs=()
)
"""What travels under `scale`; nothing is served under its own name."""

_APPS = "io.k8s.api.apps.v1."
_CORE = "io.k8s.api.core.v1."
_RBAC = "io.k8s.api.rbac.v1."
_RBAC_GROUP = "rbac.authorization.k8s.io"
_ALL = ("all",)
_STATUS = ("status",)
_SCALED = ("status", "scale")
_POD_PARTS = ("status", "attach", "binding", "eviction", "exec", "log", "portforward")

STATEFUL_SET = Kind(
    "StatefulSet",
    "apps",
    "v1",
    "statefulsets",
    "statefulset",
    ("sts",),
    True,
    _APPS + "StatefulSet",
    _SCALED,
    _ALL,
)
DAEMON_SET = Kind(
    "DaemonSet", "apps", "v1", "daemonsets", "daemonset", ("ds",), True, _APPS + "DaemonSet", _STATUS, _ALL
)
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
POD = Kind("Pod", "", "v1", "pods", "pod", ("po",), True, _CORE + "Pod", _POD_PARTS, _ALL)
NODE = Kind("Node", "", "v1", "nodes", "node", ("no",), False, _CORE + "Node", _STATUS)
CLAIM = Kind(
    "PersistentVolumeClaim",
    "",
    "v1",
    "persistentvolumeclaims",
    "persistentvolumeclaim",
    ("pvc",),
    True,
    _CORE + "PersistentVolumeClaim",
    _STATUS,
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
    _STATUS,
)
SERVICE = Kind("Service", "", "v1", "services", "service", ("svc",), True, _CORE + "Service", _STATUS, _ALL)
NAMESPACE = Kind(
    "Namespace",
    "",
    "v1",
    "namespaces",
    "namespace",
    ("ns",),
    False,
    _CORE + "Namespace",
    _STATUS,
    verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
)
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
    "ServiceAccount",
    "",
    "v1",
    "serviceaccounts",
    "serviceaccount",
    ("sa",),
    True,
    _CORE + "ServiceAccount",
    ("token",),
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
    _STATUS,
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

_NO_REPLICAS = "Chronoset runs no {}: make it a StatefulSet (its pods have names and order) or a DaemonSet"
_NO_RUNS = "Chronoset runs no {}: a Pod with restartPolicy OnFailure runs to its end once"
_NO_ROUTES = (
    "Chronoset routes no traffic: clients reach the pods themselves, by the names of a headless Service"
)
_NO_DEFINITIONS = "Chronoset has the kinds that it has: `kubectl api-resources` lists them"
_BARE = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata"
"""The schema of what is refused whatever stands in it: an object with metadata."""
_AUTHENTICATION = "authentication.k8s.io"
_AUTHORIZATION = "authorization.k8s.io"


def _refused(kind: str, group: str, short: str, definition: str) -> Kind:
    name = kind.lower()
    refusal = _NO_REPLICAS.format(f"{kind}s")
    return Kind(
        kind, group, "v1", f"{name}s", name, (short,), True, definition, _SCALED, _ALL, refusal=refusal
    )


def _unknown(kind: str, group: str, plural: str, short: tuple[str, ...], refusal: str) -> Kind:
    """A kind that clients ask for without being asked to (`apply --prune`, `apply` of what they do not know)."""
    namespaced = kind != "CustomResourceDefinition"
    categories = _ALL if group == "batch" else ()
    return Kind(
        kind, group, "v1", plural, kind.lower(), short, namespaced, _BARE, (), categories, refusal=refusal
    )


def _review(kind: str, group: str, namespaced: bool = False, version: str = "v1") -> Kind:
    definition = f"io.k8s.api.{group.partition('.')[0]}.v1.{kind}"
    name = kind.lower()
    return Kind(kind, group, version, f"{name}s", name, (), namespaced, definition, verbs=CREATE)


DEPLOYMENT = _refused("Deployment", "apps", "deploy", _APPS + "Deployment")
REPLICA_SET = _refused("ReplicaSet", "apps", "rs", _APPS + "ReplicaSet")
REPLICATION_CONTROLLER = _refused("ReplicationController", "", "rc", _CORE + "ReplicationController")
JOB = _unknown("Job", "batch", "jobs", (), _NO_RUNS.format("Jobs"))
CRON_JOB = _unknown("CronJob", "batch", "cronjobs", ("cj",), _NO_RUNS.format("CronJobs"))
INGRESS = _unknown("Ingress", "networking.k8s.io", "ingresses", ("ing",), _NO_ROUTES)
DEFINITION = _unknown(
    "CustomResourceDefinition",
    "apiextensions.k8s.io",
    "customresourcedefinitions",
    ("crd", "crds"),
    _NO_DEFINITIONS,
)
EVENT_OF_EVENTS = Kind(
    "Event",
    "events.k8s.io",
    "v1",
    "events",
    "event",
    ("ev",),
    True,
    "io.k8s.api.events.v1.Event",
    stored_as=EVENT.resource,
)
ENDPOINTS = Kind(
    "Endpoints",
    "",
    "v1",
    "endpoints",
    "endpoints",
    ("ep",),
    True,
    _CORE + "Endpoints",
    verbs=("get", "list"),
    derived_from=ENDPOINT_SLICE.resource,
)
"""Read by `kubectl describe service` before 1.31, and by `apply --prune`."""
BINDING = Kind("Binding", "", "v1", "bindings", "binding", (), True, _CORE + "Binding", verbs=CREATE)
TOKEN_REVIEW = _review("TokenReview", _AUTHENTICATION)
SELF_REVIEW = _review("SelfSubjectReview", _AUTHENTICATION)
SELF_REVIEW_BETA = _review("SelfSubjectReview", _AUTHENTICATION, version="v1beta1")
"""Asked for by `kubectl auth whoami` of 1.27."""
ACCESS_REVIEW = _review("SubjectAccessReview", _AUTHORIZATION)
SELF_ACCESS_REVIEW = _review("SelfSubjectAccessReview", _AUTHORIZATION)
SELF_RULES_REVIEW = _review("SelfSubjectRulesReview", _AUTHORIZATION)
LOCAL_ACCESS_REVIEW = _review("LocalSubjectAccessReview", _AUTHORIZATION, namespaced=True)

ANSWERED: tuple[Kind, ...] = (
    DEPLOYMENT,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    JOB,
    CRON_JOB,
    INGRESS,
    DEFINITION,
    EVENT_OF_EVENTS,
    ENDPOINTS,
    BINDING,
    TOKEN_REVIEW,
    SELF_REVIEW,
    SELF_REVIEW_BETA,
    ACCESS_REVIEW,
    SELF_ACCESS_REVIEW,
    SELF_RULES_REVIEW,
    LOCAL_ACCESS_REVIEW,
)
SERVED: tuple[Kind, ...] = (*KINDS, *ANSWERED)

WORKLOADS: tuple[Kind, ...] = (STATEFUL_SET, DAEMON_SET)
"""What has pods of a template, its revisions, and rollouts."""

BY_PATH: dict[tuple[str, str, str], Kind] = {(kind.group, kind.version, kind.plural): kind for kind in SERVED}
"""By (group, version, plural), as they stand in `/apis/apps/v1/.../statefulsets`; the core group is empty."""
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
