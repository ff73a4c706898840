"""What a node may do: with its own object, its lease, its pods, and what they name. Pure.

First what it may ask for at all (plugin/pkg/auth/authorizer/node), then what it may make of it, once its wish is known
(plugin/pkg/admission/noderestriction). So a machine that was broken into reaches no more than what it was trusted with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from events.state import State
from schemas.errors import Forbidden
from schemas.kinds import CLAIM, CONFIG_MAP, LEASE, NODE, POD, SECRET
from schemas.objects import Object, key_of, labels_of, name_of, namespace_of
from schemas.selectors import matches_node
from schemas.storage import HOSTNAME
from services.api.identity.rules import READ, Attributes, Rule
from services.api.requests import User
from services.api.seams import Wish

PREFIX = "system:node:"
GROUP = "system:nodes"
LEASES = "kube-node-lease"
_RESTRICTED = "node-restriction.kubernetes.io"
_OPEN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "node.kubernetes.io/windows-build",
    )
)
_OPEN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
"""Of the labels below kubernetes.io and k8s.io, those that a node may give itself (kubelet/apis, well_known_labels)."""

_RULES = (
    Rule(READ, ("",), ("nodes", "services")),
    Rule(READ, ("discovery.k8s.io",), ("endpointslices",)),
    Rule(("create",), ("",), ("nodes",)),
    Rule(("patch", "update"), ("",), ("nodes", "nodes/status", "pods/status")),
    Rule(("delete",), ("",), ("pods",)),
    Rule(("create",), ("",), ("pods/eviction",)),
    Rule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",)),
    Rule(READ, ("",), ("persistentvolumes",)),
    Rule(("patch", "update"), ("",), ("persistentvolumes",)),
    Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
)
_LEASE_VERBS = ("create", "delete", "get", "patch", "update")


def node_of(user: User) -> str:
    """Return the name of the node that a user is; empty where it is none."""
    if GROUP in user.groups and user.name.startswith(PREFIX):
        return user.name.removeprefix(PREFIX)
    return ""


def refusal(node: str, asked: Attributes, state: State) -> str | None:
    """Return why a node may not ask for this, or None where it may. `state` is not kept."""
    whole = asked.whole
    if asked.group == "" and asked.resource == POD.plural and asked.verb in READ and not asked.subresource:
        return _refusal_of_pods(node, asked, state)
    if asked.group == "" and whole in _NAMED_BY_PODS:
        return _refusal_of_named(node, asked, state)
    if (asked.group, whole) == (LEASE.group, LEASE.plural):
        return _refusal_of_lease(node, asked)
    if whole == NODE.plural and asked.verb == "get" and asked.name != node:
        return f"node '{node}' cannot read '{asked.name}', only its own Node object"
    if (
        whole == NODE.plural
        and asked.verb in ("list", "watch")
        and not _selects(asked.field_selector, "metadata.name", node)
    ):
        return f"node '{node}' cannot read all nodes, only its own Node object"
    if any(rule.allows(asked) for rule in _RULES):
        return None
    return ""


def restrict(node: str, wish: Wish, state: State) -> None:
    """Raise Forbidden where a node's wish concerns what is not its own."""
    target, kind = wish.target, wish.target.kind
    subject = wish.new or wish.old
    if subject is None:
        return
    match kind.kind, target.subresource:
        case "Pod", "status":
            _restrict_status(node, wish)
        case "Pod", "eviction" | "":
            _restrict_pod(node, wish)
        case "Node", _:
            _restrict_node(node, wish)
        case "PersistentVolume", _:
            _restrict_volume(node, wish, state)
        case "Lease", _:
            check_lease(node, namespace_of(subject), name_of(subject))


def check_lease(node: str, namespace: str, name: str) -> None:
    """Raise Forbidden where a lease is not a node's own; empty for somebody who is no node."""
    if node and (namespace, name) != (LEASES, node):
        raise Forbidden(f'can only access node lease with the same name as the requesting node ("{node}")')


def named_by(pod: Object) -> Iterator[tuple[str, str]]:
    """Yield (plural, name) of the Secrets, ConfigMaps and claims that a pod names (pkg/api/v1/pod VisitPod*)."""
    spec = pod["spec"]
    for reference in spec.get("imagePullSecrets") or ():
        yield SECRET.plural, reference.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _named_by_volume(volume)
        for source in (volume.get("projected") or {}).get("sources") or ():
            for field, plural in (("secret", SECRET.plural), ("configMap", CONFIG_MAP.plural)):
                if field in source:
                    yield plural, source[field].get("name", "")
        if "ephemeral" in volume:
            yield CLAIM.plural, f"{name_of(pod)}-{volume['name']}"
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield from _named_by_container(container)


def _named_by_volume(volume: Object) -> Iterator[tuple[str, str]]:
    for field, plural, name in (
        ("secret", SECRET.plural, "secretName"),
        ("configMap", CONFIG_MAP.plural, "name"),
        ("persistentVolumeClaim", CLAIM.plural, "claimName"),
    ):
        if field in volume:
            yield plural, volume[field].get(name, "")


def _named_by_container(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield SECRET.plural, (source.get("secretRef") or {}).get("name", "")
        yield CONFIG_MAP.plural, (source.get("configMapRef") or {}).get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield SECRET.plural, (source.get("secretKeyRef") or {}).get("name", "")
        yield CONFIG_MAP.plural, (source.get("configMapKeyRef") or {}).get("name", "")


def _refusal_of_pods(node: str, asked: Attributes, state: State) -> str | None:
    if asked.verb == "get" or asked.name:
        pod = state.get(key_of(POD.resource, asked.namespace, asked.name))
        if pod is not None and pod["spec"].get("nodeName") == node:
            return None
        return f"no relationship found between node '{node}' and this object"
    if _selects(asked.field_selector, "spec.nodeName", node):
        return None
    return f"can only list/watch pods with spec.nodeName field selector set to its own node: {node}"


def _refusal_of_named(node: str, asked: Attributes, state: State) -> str | None:
    if asked.verb not in READ:
        return "can only read resources of this type"
    name = asked.name or _named_alone(asked.field_selector)
    if not name:
        return "No Object name found"
    wanted = (asked.resource, name)
    for pod in state.pods_on(node):
        if namespace_of(pod) == asked.namespace and wanted in named_by(pod):
            return None
    return f"no relationship found between node '{node}' and this object"


def _refusal_of_lease(node: str, asked: Attributes) -> str | None:
    if asked.verb not in _LEASE_VERBS:
        return "can only get, create, update, patch, or delete a node lease"
    if asked.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    if asked.verb != "create" and asked.name != node:
        return "can only access node lease with the same name as the requesting node"
    return None


def _restrict_pod(node: str, wish: Wish) -> None:
    pod, verb = wish.old, wish.target.verb
    if verb == "create" and not wish.target.subresource:
        raise Forbidden(f'node "{node}" can only create mirror pods, and there are none here')
    if pod is not None and pod["spec"].get("nodeName") != node:
        deed = "evict" if wish.target.subresource else "delete"
        raise Forbidden(f'node "{node}" can only {deed} pods with spec.nodeName set to itself')


def _restrict_status(node: str, wish: Wish) -> None:
    old, new = wish.old, wish.new
    if old is None or new is None or old["spec"].get("nodeName") != node:
        raise Forbidden(f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if labels_of(old) != labels_of(new):
        raise Forbidden(f'node "{node}" cannot update labels through pod status')


def _restrict_node(node: str, wish: Wish) -> None:
    old, new = wish.old, wish.new
    if wish.target.name != node:
        raise Forbidden(f'node "{node}" is not allowed to modify node "{wish.target.name}"')
    if new is None:
        raise Forbidden(f'node "{node}" is not allowed to delete itself')
    if labels_of(new).get(HOSTNAME, node) != node:
        raise Forbidden(f'node "{node}" is not allowed to set the following labels: {HOSTNAME}')
    if old is None:
        if forbidden := _forbidden_labels(labels_of(new)):
            raise Forbidden(f'node "{node}" is not allowed to set the following labels: {forbidden}')
        return
    if (old.get("spec") or {}).get("taints") != (new.get("spec") or {}).get("taints"):
        raise Forbidden(f'node "{node}" is not allowed to modify taints')
    if old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences"):
        raise Forbidden(f'node "{node}" is not allowed to modify ownerReferences')
    before, after = labels_of(old), labels_of(new)
    moved = {key: "" for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    if forbidden := _forbidden_labels(moved):
        raise Forbidden(f'node "{node}" is not allowed to modify labels: {forbidden}')


def _restrict_volume(node: str, wish: Wish, state: State) -> None:
    """A volume is its node's to let go of, once the directory is gone; nothing else of it (ours)."""
    me = state.get(key_of(NODE.resource, "", node))
    volume = wish.old
    affinity = ((volume or {}).get("spec", {}).get("nodeAffinity") or {}).get("required")
    if volume is None or me is None or not affinity or not matches_node(affinity, me):
        raise Forbidden(f'node "{node}" can only modify persistent volumes that are on itself')
    if wish.new is not None and wish.new["spec"] != volume["spec"]:
        raise Forbidden(f'node "{node}" is not allowed to modify the spec of a persistent volume')


def _forbidden_labels(labels: Mapping[str, str]) -> str:
    """Return the labels that a node may not give itself, sorted; empty where there are none."""
    return ", ".join(sorted(key for key in labels if _is_kept_from_nodes(key)))


def _is_kept_from_nodes(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if _is_in(domain, _RESTRICTED):
        return True
    if label in _OPEN_LABELS or any(_is_in(domain, each) for each in _OPEN_DOMAINS):
        return False
    return _is_in(domain, "kubernetes.io") or _is_in(domain, "k8s.io")


def _is_in(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


def _selects(field_selector: str, field: str, value: str) -> bool:
    """Say whether a field selector lets through nothing but objects with this value."""
    terms = [term.replace("==", "=").partition("=") for term in field_selector.split(",")]
    return (field, "=", value) in terms


def _named_alone(field_selector: str) -> str:
    """Return the name of the only object that a field selector lets through; empty where it is not one."""
    for term in field_selector.split(","):
        field, _, value = term.replace("==", "=").partition("=")
        if field == "metadata.name" and "!" not in field:
            return value
    return ""


_NAMED_BY_PODS = frozenset((SECRET.plural, CONFIG_MAP.plural, CLAIM.plural))
