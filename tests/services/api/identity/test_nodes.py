"""A node reaches its own object, its lease, its pods and what they name, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from schemas.errors import Forbidden
from schemas.kinds import BY_RESOURCE
from schemas.objects import Object
from services.api.identity.nodes import GROUP, node_of, refusal, restrict
from services.api.identity.rules import Attributes
from services.api.requests import Target, User
from services.api.seams import Wish
from tests.builders import a_node, a_pod, a_state, a_volume, an_object

N1 = User("system:node:n1", (GROUP,))
MINE = a_pod(
    "mine",
    node="n1",
    claims=("data",),
    imagePullSecrets=[{"name": "pull"}],
    initContainers=[{"name": "i", "env": [{"valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
)
MOUNTED = a_pod("mounted", node="n1")
MOUNTED["spec"]["volumes"] = [
    {"name": "a", "secret": {"secretName": "mounted"}},
    {"name": "b", "configMap": {"name": "settings"}},
    {"name": "c", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "piece"}}]}},
]
OTHERS = a_pod("others", node="n2", claims=("theirs",), imagePullSecrets=[{"name": "foreign"}])
STATE = a_state(a_node("n1"), a_node("n2"), MINE, MOUNTED, OTHERS, a_pod("waiting"))


def why(verb: str, resource: str, name: str = "", namespace: str = "default", **more: str) -> str | None:
    group, _, plural = resource.rpartition("/")
    return refusal("n1", Attributes(verb, group, plural, name=name, namespace=namespace, **more), STATE)


def test_only_a_member_of_the_group_is_a_node() -> None:
    assert node_of(N1) == "n1"
    assert node_of(User("system:node:n1")) == node_of(User("n1", (GROUP,))) == ""


@pytest.mark.parametrize(
    ("resource", "mine", "not_mine"),
    [
        ("pods", "mine", "others"),
        ("pods", "mounted", "waiting"),
        ("secrets", "pull", "foreign"),
        ("secrets", "key", "unnamed"),
        ("secrets", "mounted", "settings"),
        ("secrets", "part", "piece"),
        ("configmaps", "settings", "mounted"),
        ("configmaps", "piece", "part"),
        ("persistentvolumeclaims", "data", "theirs"),
    ],
)
def test_it_reads_its_pods_and_what_they_name(resource: str, mine: str, not_mine: str) -> None:
    assert why("get", resource, mine) is None
    assert why("get", resource, not_mine) == "no relationship found between node 'n1' and this object"
    assert why("get", resource, mine, "kube-system") is not None


def test_it_watches_one_secret_by_its_name_and_never_all() -> None:
    assert why("watch", "secrets", field_selector="metadata.name=pull") is None
    assert why("list", "secrets") == "No Object name found"
    assert why("list", "secrets", field_selector="metadata.name!=x") == "No Object name found"
    assert why("update", "secrets", "pull") == "can only read resources of this type"


def test_it_lists_its_own_pods_only() -> None:
    assert why("list", "pods", namespace="", field_selector="spec.nodeName=n1") is None
    assert why("watch", "pods", namespace="", field_selector="status.phase=Running,spec.nodeName==n1") is None
    for selector in ("", "spec.nodeName=n2", "spec.nodeName!=n1"):
        assert why("list", "pods", namespace="", field_selector=selector) is not None


def test_it_has_its_own_lease() -> None:
    lease, place = "coordination.k8s.io/leases", "kube-node-lease"
    assert why("update", lease, "n1", place) is None
    assert why("update", lease, "n2", place) is not None
    assert why("update", lease, "n1", "kube-system") is not None
    assert why("list", lease, namespace=place) is not None


def test_it_knows_no_other_node_and_ends_none() -> None:
    assert why("get", "nodes", "n1", "") is None
    assert why("get", "nodes", "n2", "") == "node 'n1' cannot read 'n2', only its own Node object"
    assert why("list", "nodes", namespace="") is not None
    assert why("watch", "nodes", namespace="", field_selector="metadata.name=n1") is None
    assert why("delete", "nodes", "n1", "") == ""


@pytest.mark.parametrize(
    "asked",
    [
        ("create", "pods", ""),
        ("update", "pods", ""),
        ("create", "pods", "exec"),
        ("create", "pods", "binding"),
        ("patch", "apps/statefulsets", ""),
        ("create", "rbac.authorization.k8s.io/clusterrolebindings", ""),
        ("list", "namespaces", ""),
        ("delete", "persistentvolumes", ""),
        ("deletecollection", "pods", ""),
    ],
)
def test_nothing_else_is_allowed(asked: tuple[str, str, str]) -> None:
    verb, resource, part = asked
    assert why(verb, resource, subresource=part) == ""


def wish(resource: str, old: Object | None, new: Object | None, part: str = "", verb: str = "update") -> Wish:
    subject = new or old
    assert subject is not None
    target = Target(verb, BY_RESOURCE[resource], "", subject["metadata"]["name"], part)
    return Wish(N1, target, old, new)


def labelled(obj: Object, label: str, value: str = "x") -> Object:
    metadata = {**obj["metadata"], "labels": {**obj["metadata"].get("labels", {}), label: value}}
    return {**obj, "metadata": metadata}


NODE = a_node("n1")
HERE, THERE = a_volume("here", node="n1"), a_volume("there", node="n2")
UNHELD = {**HERE, "metadata": {**HERE["metadata"], "finalizers": []}}


@pytest.mark.parametrize(
    "allowed",
    [
        wish("core/pods", MINE, {**MINE, "status": {"phase": "Running"}}, "status"),
        wish("core/pods", MINE, None, verb="delete"),
        wish("core/pods", MINE, None, "eviction", "create"),
        wish("core/nodes", None, labelled(NODE, "kubernetes.io/arch", "amd64"), verb="create"),
        wish("core/nodes", NODE, labelled(NODE, "my/label")),
        wish("core/nodes", NODE, {**NODE, "status": {}}, "status"),
        wish("core/persistentvolumes", HERE, UNHELD),
    ],
    ids=lambda each: f"{each.target.verb} {each.target.kind.plural} {each.target.subresource}",
)
def test_it_writes_what_is_its_own(allowed: Wish) -> None:
    restrict("n1", allowed, STATE)


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (
            wish("core/pods", OTHERS, {**OTHERS, "status": {}}, "status"),
            "can only update pod status for pods with spec.nodeName set to itself",
        ),
        (wish("core/pods", MINE, labelled(MINE, "a"), "status"), "cannot update labels through pod status"),
        (
            wish("core/pods", OTHERS, None, verb="delete"),
            "can only delete pods with spec.nodeName set to itself",
        ),
        (wish("core/pods", OTHERS, None, "eviction", "create"), "can only evict pods with spec.nodeName"),
        (wish("core/pods", None, MINE, verb="create"), "can only create mirror pods"),
        (wish("core/nodes", a_node("n2"), a_node("n2"), "status"), 'is not allowed to modify node "n2"'),
        (wish("core/nodes", None, a_node("n2"), verb="create"), 'is not allowed to modify node "n2"'),
        (wish("core/nodes", NODE, {**NODE, "spec": {"taints": []}}), "is not allowed to modify taints"),
        (
            wish("core/nodes", NODE, labelled(NODE, "node-restriction.kubernetes.io/a")),
            "is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        (
            wish("core/nodes", NODE, labelled(NODE, "kubernetes.io/hostname", "n2")),
            "is not allowed to set the following labels: kubernetes.io/hostname",
        ),
        (
            wish("core/nodes", NODE, labelled(NODE, "node-role.kubernetes.io/x", "")),
            "is not allowed to modify labels",
        ),
        (wish("core/persistentvolumes", THERE, THERE), "that are on itself"),
        (wish("core/persistentvolumes", HERE, {**HERE, "spec": {}}), "the spec of a persistent volume"),
    ],
)
def test_it_writes_nothing_of_others(refused: Wish, sentence: str) -> None:
    with pytest.raises(Forbidden, match=re.escape(sentence)):
        restrict("n1", refused, STATE)


def test_a_lease_is_made_by_its_own_name() -> None:
    def lease(name: str, namespace: str = "kube-node-lease") -> Any:
        obj = an_object("Lease", name, namespace, "coordination.k8s.io/v1", spec={})
        return wish("coordination.k8s.io/leases", None, obj, verb="create")

    restrict("n1", lease("n1"), STATE)
    for other in (lease("n2"), lease("n1", "default")):
        with pytest.raises(Forbidden, match="with the same name as the requesting node"):
            restrict("n1", other, STATE)
