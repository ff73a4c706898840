"""What an API server tells a cluster about itself, as objects: where it is, and whom to trust. Pure.

(pkg/controlplane/controller/kubernetesservice, .../clusterauthenticationtrust)
"""

from __future__ import annotations

from dataclasses import dataclass

from events.commit import Reader
from schemas.canonical import canonical
from schemas.changes import Change, Create, Replace
from schemas.kinds import CONFIG_MAP, ENDPOINT_SLICE, NAMESPACE, SERVICE
from schemas.objects import Object, is_terminating, key_of, key_of_object
from services.bootstrap import NAMESPACES
from services.controllers.namespaces import AUTHORITY, AUTHORITY_FIELD, AUTHORITY_NAMESPACE

NAME = "kubernetes"
_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API server answers, and the certificate (PEM) of the authority that its own is of."""

    address: str
    port: int
    authority: str


def publications(place: Place, reader: Reader) -> list[Change]:
    """Return what must change for the cluster to know this server; nothing where it does.

    A Service `kubernetes` that is there stays as it is. The EndpointSlice says where this server is, and no other one.
    The namespaces that a cluster begins with are made again (pkg/controlplane/controller/systemnamespaces).
    """
    changes: list[Change] = [
        Create(_namespace(name))
        for name in NAMESPACES
        if reader.get(key_of(NAMESPACE.resource, "", name)) is None
    ]
    for wanted in (_authority(place), _service(place), _slice(place)):
        found = reader.get(key_of_object(wanted))
        namespace = reader.get(key_of(NAMESPACE.resource, "", wanted["metadata"]["namespace"]))
        if namespace is None or is_terminating(namespace):
            continue
        if found is None:
            changes.append(Create(wanted))
        elif wanted["kind"] != SERVICE.kind and not is_terminating(found):
            changes += _corrected(found, wanted)
    return changes


def _namespace(name: str) -> Object:
    return canonical({"apiVersion": "v1", "kind": NAMESPACE.kind, "metadata": {"name": name}}).object


def _corrected(found: Object, wanted: Object) -> list[Change]:
    said = {name: value for name, value in wanted.items() if name != "metadata"}
    new = {**found, **said}
    return [] if new == found else [Replace(found, new)]


def _authority(place: Place) -> Object:
    return _object(CONFIG_MAP.kind, AUTHORITY, AUTHORITY_NAMESPACE, data={AUTHORITY_FIELD: place.authority})


def _service(place: Place) -> Object:
    """A headless one: there are no virtual addresses here, so its name leads to the server itself."""
    port = {"name": "https", "port": place.port, "protocol": "TCP", "targetPort": place.port}
    spec = {"clusterIP": "None", "ports": [port], "type": "ClusterIP"}
    return _object(
        SERVICE.kind, NAME, _NAMESPACE, labels={"component": "apiserver", "provider": NAME}, spec=spec
    )


def _slice(place: Place) -> Object:
    return _object(
        ENDPOINT_SLICE.kind,
        NAME,
        _NAMESPACE,
        labels={"kubernetes.io/service-name": NAME},
        api_version=ENDPOINT_SLICE.api_version,
        addressType="IPv6" if ":" in place.address else "IPv4",
        endpoints=[{"addresses": [place.address], "conditions": {"ready": True}}],
        ports=[{"name": "https", "port": place.port, "protocol": "TCP"}],
    )


def _object(
    kind: str,
    name: str,
    namespace: str,
    labels: dict[str, str] | None = None,
    api_version: str = "v1",
    **fields: object,
) -> Object:
    metadata = {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})}
    return canonical({"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}).object
