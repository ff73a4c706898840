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
