"""What roles and bindings allow, and what nobody may give away."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from events.state import State
from schemas.objects import Object
from services.api.identity.bindings import AUTHENTICATED, MASTERS, rules_of
from services.api.identity.rules import ROLES, Attributes, Rule, uncovered
from services.api.requests import User
from tests.builders import a_state, an_object

RBAC = "rbac.authorization.k8s.io"
BOB = User("bob", (AUTHENTICATED,))


def a_binding(
    role: str, namespace: str = "", kind: str = "ClusterRole", subject: dict[str, str] | None = None
) -> Object:
    return an_object(
        "RoleBinding" if namespace else "ClusterRoleBinding",
        f"{role}-{namespace}",
        namespace,
        f"{RBAC}/v1",
        roleRef={"apiGroup": RBAC, "kind": kind, "name": role},
        subjects=[subject or {"kind": "User", "name": "bob"}],
    )


def may(user: User, state: State, verb: str, resource: str, namespace: str = "", **more: Any) -> bool:
    group, _, plural = resource.rpartition("/")
    asked = Attributes(verb, group, plural, namespace=namespace, **more)
    return any(rule.allows(asked) for rule in rules_of(user, namespace, state))


@pytest.mark.parametrize(
    ("role", "verb", "resource", "part", "allowed"),
    [
        ("view", "list", "pods", "", True),
        ("view", "get", "pods", "log", True),
        ("view", "watch", "apps/statefulsets", "", True),
        ("view", "get", "secrets", "", False),
        ("view", "delete", "pods", "", False),
        ("view", "create", "pods", "exec", False),
        ("edit", "get", "secrets", "", True),
        ("edit", "patch", "apps/statefulsets", "scale", True),
        ("edit", "create", "pods", "exec", True),
        ("edit", "create", "pods", "eviction", True),
        ("edit", "update", "pods", "status", False),
        ("edit", "create", f"{RBAC}/rolebindings", "", False),
        ("edit", "update", "nodes", "", False),
        ("admin", "create", f"{RBAC}/rolebindings", "", True),
        ("admin", "delete", "namespaces", "", False),
        ("admin", "list", "nodes", "", False),
        ("cluster-admin", "delete", "nodes", "", True),
        ("cluster-admin", "anything", "elsewhere/things", "part", True),
    ],
)
def test_a_role_allows_what_kubernetes_says(
    role: str, verb: str, resource: str, part: str, allowed: bool
) -> None:
    state = a_state(a_binding(role))

    assert may(BOB, state, verb, resource, "shop", subresource=part) is allowed


def test_a_role_bound_in_a_namespace_holds_there_alone() -> None:
    state = a_state(a_binding("view", "shop"))

    assert may(BOB, state, "list", "pods", "shop")
    assert not may(BOB, state, "list", "pods", "bank")
    assert not may(BOB, state, "list", "pods")


def test_a_role_bound_for_all_holds_everywhere() -> None:
    state = a_state(a_binding("view"))

    assert may(BOB, state, "list", "pods") and may(BOB, state, "list", "pods", "shop")


@pytest.mark.parametrize(
    ("subject", "user"),
    [
        ({"kind": "Group", "name": "devs"}, User("zoe", ("devs",))),
        ({"kind": "ServiceAccount", "name": "bot"}, User("system:serviceaccount:shop:bot")),
        ({"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}, User("system:serviceaccount:ci:bot")),
    ],
)
def test_groups_and_service_accounts_are_subjects(subject: dict[str, str], user: User) -> None:
    state = a_state(a_binding("view", "shop", subject=subject))

    assert may(user, state, "get", "pods", "shop")
    assert not may(BOB, state, "get", "pods", "shop")


def test_a_role_of_somebodys_own_counts_and_names_limit_it() -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["mine"]}]
    role = an_object("Role", "reader", "shop", f"{RBAC}/v1", rules=rules)
    state = a_state(role, a_binding("reader", "shop", kind="Role"))

    assert may(BOB, state, "get", "secrets", "shop", name="mine")
    assert not may(BOB, state, "get", "secrets", "shop", name="yours")
    assert not may(BOB, state, "list", "secrets", "shop")


def test_an_object_cannot_change_what_a_built_in_role_means() -> None:
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    fake = an_object("ClusterRole", "view", api_version=f"{RBAC}/v1", rules=everything)

    assert not may(BOB, a_state(fake, a_binding("view")), "delete", "pods", "shop")


def test_masters_may_do_everything_and_strangers_nothing() -> None:
    assert may(User("root", (MASTERS,)), a_state(), "delete", "nodes")
    assert list(rules_of(User("nobody"), "shop", a_state())) == []


def test_everybody_known_finds_the_way_around() -> None:
    state = a_state()
    allowed = [
        any(rule.allows(Attributes("get", path=path)) for rule in rules_of(BOB, "", state))
        for path in ("/api", "/apis/apps/v1", "/version", "/openapi/v3/api/v1", "/metrics", "/apisecret")
    ]

    assert allowed == [True, True, True, True, False, False]


def test_smaller_roles_are_covered_by_larger_ones_and_not_the_reverse() -> None:
    names = ["view", "edit", "admin", "cluster-admin"]
    for small, large in pairwise(names):
        assert uncovered(ROLES[large], ROLES[small]) == ()
        assert uncovered(ROLES[small], ROLES[large]) != ()


def test_a_rule_with_names_covers_only_those_names() -> None:
    named = Rule(("get",), ("",), ("secrets",), ("mine",))

    assert uncovered([named], [named]) == ()
    assert uncovered([named], [Rule(("get",), ("",), ("secrets",))]) == (Rule(("get",), ("",), ("secrets",)),)
    assert uncovered([Rule(("get",), ("",), ("secrets",))], [named]) == ()
