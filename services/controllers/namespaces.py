"""What every namespace has: the service account `default`, and the authority by which its pods trust the API.

Who serves the API says which authority that is, in kube-system; before it does, there is nothing to hand on.
(pkg/controller/serviceaccount/serviceaccounts_controller.go, pkg/controller/certificates/rootcacertpublisher)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from events.admission import DEFAULT_ACCOUNT
from events.state import State
from schemas.changes import Change, Create, Decision, Replace
from schemas.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT
from schemas.objects import Key, Object, is_terminating, key_of, key_of_object, name_of, namespace_of
from schemas.times import Milliseconds
from services.controllers.controller import Controller

AUTHORITY_NAMESPACE = "kube-system"
AUTHORITY = "extension-apiserver-authentication"
"""The ConfigMap that says what authority the API's certificates are of."""
AUTHORITY_FIELD = "client-ca-file"
ROOT = "kube-root-ca.crt"
ROOT_FIELD = "ca.crt"
_NOTE = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
}


@dataclass(frozen=True, slots=True)
class View:
    """A namespace that is to stay, what it has of what it should have, and the authority (PEM; empty: not known)."""

    namespace: Object
    account: Object | None
    root: Object | None
    authority: str


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the namespaces that lack something by this event; all of them where the authority is another one."""
    obj = new or old
    assert obj is not None
    match obj["kind"]:
        case NAMESPACE.kind:
            if old is None:
                yield key_of_object(obj)
        case SERVICE_ACCOUNT.kind:
            if new is None and name_of(obj) == DEFAULT_ACCOUNT:
                yield _key(namespace_of(obj))
        case CONFIG_MAP.kind:
            if name_of(obj) == ROOT:
                yield _key(namespace_of(obj))
            elif (namespace_of(obj), name_of(obj)) == (AUTHORITY_NAMESPACE, AUTHORITY):
                yield from keys(state)


def keys(state: State) -> Iterable[Key]:
    return [key_of_object(each) for each in state.list(NAMESPACE.resource)]


def view_of(state: State, key: Key) -> View | None:
    namespace = state.get(key)
    if namespace is None or is_terminating(namespace):
        return None
    name = name_of(namespace)
    source = state.get(key_of(CONFIG_MAP.resource, AUTHORITY_NAMESPACE, AUTHORITY))
    return View(
        namespace,
        state.get(key_of(SERVICE_ACCOUNT.resource, name, DEFAULT_ACCOUNT)),
        state.get(key_of(CONFIG_MAP.resource, name, ROOT)),
        ((source or {}).get("data") or {}).get(AUTHORITY_FIELD, ""),
    )


def reconcile(view: View, _now: Milliseconds) -> Decision:
    """Make what is missing, and put the authority right where somebody has changed it."""
    changes: list[Change] = []
    if view.account is None:
        changes.append(Create(_object(SERVICE_ACCOUNT.kind, DEFAULT_ACCOUNT, view)))
    data = {ROOT_FIELD: view.authority}
    if view.authority and view.root is None:
        root = _object(CONFIG_MAP.kind, ROOT, view)
        root["metadata"]["annotations"] = _NOTE
        changes.append(Create({**root, "data": data}))
    elif view.authority and view.root is not None and not _says(view.root, data):
        kept = {name: value for name, value in view.root.items() if name != "binaryData"}
        changes.append(Replace(view.root, {**kept, "data": data}))
    return Decision(tuple(changes))


NAMESPACES: Controller[View] = Controller("namespaces", triggers, keys, view_of, reconcile)


def _says(root: Object, data: dict[str, str]) -> bool:
    return is_terminating(root) or (root.get("data") == data and not root.get("binaryData"))


def _object(kind: str, name: str, view: View) -> Object:
    metadata = {"name": name, "namespace": name_of(view.namespace)}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def _key(namespace: str) -> Key:
    return key_of(NAMESPACE.resource, "", namespace)
