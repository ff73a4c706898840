"""Who asks and what they may do, asked over HTTP of an API as it is served."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from events.codec import decode
from events.memory import wall_clock
from events.replay import replay
from schemas.changes import Delete
from schemas.envelopes import Actor
from schemas.objects import Object
from services.api.identity.authentication import Authenticator
from services.api.identity.bindings import MASTERS
from services.api.identity.policies import policy_over
from services.api.identity.tokens import key_of_token, new_token, secret_of
from tests.services.api.apis import CONFIG_MAPS, PODS, a_config_map, a_pod, an_api
from tests.services.api.identity.users import World

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"
SECRETS = "/api/v1/namespaces/kube-system/secrets"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with an_api(partial(policy_over, unseal=lambda obj: obj, clock=wall_clock)) as api:
        found = World(api)
        found.token("root", (MASTERS,))
        found.token("viewer", role="view", namespace="default")
        found.token("editor", role="edit", namespace="default")
        found.token("owner", role="admin")
        found.token("nobody")
        found.token("system:node:n1", ("system:nodes",))
        yield found


@pytest.mark.parametrize(
    "header",
    ["", "Bearer guess", "Bearer", "Basic cm9vdDpyb290", "Bearer " + "0" * 16 + "." + "a" * 43],
)
def test_nobody_is_anonymous(world: World, header: str) -> None:
    status = (
        world.api.fails(401, "GET", PODS, authorization=header)
        if header
        else world.api.fails(401, "GET", PODS)
    )

    assert (status["reason"], status["message"]) == ("Unauthorized", "Unauthorized")


def test_whether_it_is_well_and_which_version_it_is_may_be_asked_by_all(world: World) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/version"):
        assert world.api.ask("GET", path).status_code == 200
    assert world.api.ask("GET", "/api").status_code == 401
    assert world.ask("nobody", "GET", "/apis")[0] == 200


def test_what_one_may_not_is_said_as_on_kubernetes(world: World) -> None:
    code, status = world.ask("nobody", "GET", PODS)

    assert (code, status["reason"], status["details"]) == (403, "Forbidden", {"kind": "pods"})
    assert status["message"] == (
        'pods is forbidden: User "nobody" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    code, status = world.ask("viewer", "DELETE", f"{CONFIG_MAPS}/x")
    assert status["message"] == (
        'configmaps "x" is forbidden: User "viewer" cannot delete resource "configmaps" in API group "" in the '
        'namespace "default"'
    )
    code, status = world.ask("viewer", "GET", "/apis/apps/v1/statefulsets")
    assert status["message"].endswith('resource "statefulsets" in API group "apps" at the cluster scope')


def test_a_role_lets_in_where_it_is_bound(world: World) -> None:
    assert world.ask("viewer", "GET", PODS)[0] == 200
    assert world.ask("viewer", "GET", "/api/v1/namespaces/default")[0] == 200
    assert world.ask("viewer", "GET", "/api/v1/namespaces/kube-system/pods")[0] == 403
    assert world.ask("editor", "POST", CONFIG_MAPS, a_config_map("edited"))[0] == 201
    assert world.ask("owner", "GET", "/api/v1/namespaces/kube-public/secrets")[0] == 200


def test_a_token_that_was_taken_back_opens_nothing_any_more(world: World) -> None:
    key = key_of_token(world.token("brief", role="view", namespace="default"))
    assert key is not None and world.ask("brief", "GET", PODS)[0] == 200

    def taken() -> list[Any]:
        found = replay(world.api.log, world.api.log.last()).get(key)
        assert found is not None
        return [Delete(found)]

    world.write(taken)
    world.settle()

    assert world.ask("brief", "GET", PODS)[0] == 401


def test_tokens_are_nothing_that_an_administrator_of_namespaces_can_make(world: World) -> None:
    forged = secret_of(new_token(), "root", (MASTERS,), 0)
    elsewhere = {**forged, "metadata": {"name": "x", "namespace": "default"}}
    disguised = {**forged, "type": "Opaque"}
    mine = key_of_token(world.token("owner"))
    assert mine is not None

    assert world.ask("owner", "POST", SECRETS, forged)[0] == 403
    assert world.ask("owner", "POST", SECRETS, disguised)[0] == 403
    assert world.ask("owner", "POST", "/api/v1/namespaces/default/secrets", elsewhere)[0] == 403
    assert world.ask("owner", "DELETE", f"{SECRETS}/{mine.rpartition('/')[2]}")[0] == 403
    assert world.ask("owner", "DELETE", SECRETS)[0] == 403
    assert world.ask("root", "POST", SECRETS, forged)[0] == 201


def a_binding(role: str, name: str = "gift", kind: str = "ClusterRole") -> Object:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "nobody"}],
    }


def test_nobody_gives_away_more_than_he_has(world: World) -> None:
    bindings = f"{RBAC}/namespaces/kube-public/rolebindings"
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "nodes"}}

    code, status = world.ask("owner", "POST", bindings, a_binding("cluster-admin"))
    assert code == 403
    assert 'user "owner" (groups=' in status["message"]
    assert "is attempting to grant RBAC permissions not currently held" in status["message"]
    assert (
        world.ask("owner", "POST", bindings.replace("rolebindings", "roles"), {**role, "rules": rules})[0]
        == 403
    )
    assert world.ask("editor", "POST", f"{RBAC}/namespaces/default/rolebindings", a_binding("view"))[0] == 403
    unknown = world.ask("owner", "POST", bindings, a_binding("not-yet"))
    not_there = 'clusterroles.rbac.authorization.k8s.io "not-yet" not found'
    assert (unknown[0], unknown[1]["message"]) == (404, not_there)

    assert world.ask("nobody", "GET", "/api/v1/namespaces/kube-public/pods")[0] == 403
    assert world.ask("owner", "POST", bindings, a_binding("view"))[0] == 201
    world.settle()
    assert world.ask("nobody", "GET", "/api/v1/namespaces/kube-public/pods")[0] == 200
    assert world.ask("owner", "PATCH", f"{bindings}/gift", [{"op": "remove", "path": "/subjects"}],
                     content_type="application/json-patch+json")[0] == 200  # fmt: skip
    world.settle()
    assert world.ask("nobody", "GET", "/api/v1/namespaces/kube-public/pods")[0] == 403


def test_a_node_is_kept_to_what_is_its_own(world: World) -> None:
    node = "system:node:n1"
    other = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}
    code, status = world.ask(node, "POST", "/api/v1/nodes", other)
    assert (code, status["message"]) == (
        403,
        'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"',
    )
    code, made = world.ask(node, "POST", "/api/v1/nodes", {**other, "metadata": {"name": "n1"}})
    assert (code, made["spec"]["taints"][0]["key"]) == (201, "node.kubernetes.io/not-ready")

    world.ask("root", "POST", PODS, {**a_pod("theirs"), "spec": {**a_pod()["spec"], "nodeName": "n2"}})
    world.ask("root", "POST", PODS, {**a_pod("ours"), "spec": {**a_pod()["spec"], "nodeName": "n1"}})
    world.settle()
    assert world.ask(node, "GET", f"{PODS}/ours")[0] == 200
    assert world.ask(node, "GET", f"{PODS}/theirs")[0] == 403
    assert world.ask(node, "DELETE", f"{PODS}/theirs")[0] == 403
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "theirs"}}
    assert world.ask(node, "POST", f"{PODS}/theirs/eviction", eviction)[0] == 403
    status_of_theirs = {"status": {"phase": "Failed"}}
    merge = "application/merge-patch+json"
    assert world.ask(node, "PATCH", f"{PODS}/theirs/status", status_of_theirs, content_type=merge)[0] == 403
    assert world.ask(node, "PATCH", f"{PODS}/ours/status", status_of_theirs, content_type=merge)[0] == 200
    listed = world.ask(node, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")[1]["items"]
    assert [each["metadata"]["name"] for each in listed] == ["ours"]


def review(kind: str, version: str = "authorization.k8s.io/v1", **spec: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "spec": spec}


def test_one_can_ask_who_one_is_and_what_one_may(world: World) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    code, found = world.ask("viewer", "POST", path, review("SelfSubjectReview", "authentication.k8s.io/v1"))
    assert (code, found["status"]["userInfo"]) == (
        201,
        {"username": "viewer", "groups": ["system:authenticated"]},
    )

    def can(user: str, verb: str, resource: str) -> bool:
        asked = {"verb": verb, "resource": resource, "namespace": "default"}
        body = review("SelfSubjectAccessReview", resourceAttributes=asked)
        return bool(
            world.ask(user, "POST", f"{REVIEWS}/selfsubjectaccessreviews", body)[1]["status"]["allowed"]
        )

    assert can("viewer", "list", "pods") and not can("viewer", "delete", "pods")
    assert can("editor", "delete", "pods") and can("root", "*", "*") and not can("editor", "*", "*")


def test_the_rules_of_a_namespace_can_be_listed(world: World) -> None:
    body = review("SelfSubjectRulesReview", namespace="default")

    status = world.ask("viewer", "POST", f"{REVIEWS}/selfsubjectrulesreviews", body)[1]["status"]

    assert status["incomplete"] is False
    assert any(
        "pods" in rule["resources"] and rule["verbs"] == ["get", "list", "watch"]
        for rule in status["resourceRules"]
    )
    node = world.ask("system:node:n1", "POST", f"{REVIEWS}/selfsubjectrulesreviews", body)[1]["status"]
    assert node["incomplete"] is True


def test_who_may_can_ask_about_others(world: World) -> None:
    asked = {"verb": "get", "resource": "pods", "namespace": "default"}
    body = review("SubjectAccessReview", user="viewer", resourceAttributes=asked)

    assert world.ask("root", "POST", f"{REVIEWS}/subjectaccessreviews", body)[1]["status"]["allowed"] is True
    assert world.ask("viewer", "POST", f"{REVIEWS}/subjectaccessreviews", body)[0] == 403
    local = f"{REVIEWS}/namespaces/kube-public/localsubjectaccessreviews"
    assert world.ask("root", "POST", local, {**body, "kind": "LocalSubjectAccessReview"})[0] == 422
    neither = review("SubjectAccessReview", user="viewer")
    assert world.ask("root", "POST", f"{REVIEWS}/subjectaccessreviews", neither)[0] == 422


def test_a_token_can_be_reviewed(world: World) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"

    def reviewed(token: str) -> Any:
        body = review("TokenReview", "authentication.k8s.io/v1", token=token)
        return world.ask("root", "POST", path, body)[1]["status"]

    assert reviewed(world.token("viewer"))["user"]["username"] == "viewer"
    assert "authenticated" not in reviewed(new_token())


def test_the_log_names_who_wrote_and_for_whom(world: World) -> None:
    world.ask("editor", "POST", CONFIG_MAPS, a_config_map("by-editor"), user_agent="kubectl/v1.33")
    world.ask("root", "POST", CONFIG_MAPS, a_config_map("by-root"), impersonate_user="editor")

    events = {event.key: event for event in map(decode, world.api.log.read(0, 10_000))}
    by_editor = events["core/configmaps/default/by-editor"]
    assert (by_editor.actor, by_editor.origin.agent) == (Actor("user:editor", "token"), "kubectl/v1.33")
    assert events["core/configmaps/default/by-root"].actor == Actor("user:root", "token", "user:editor")


def test_one_asks_as_somebody_else_only_where_one_may(world: World) -> None:
    assert world.ask("root", "GET", "/api/v1/pods", impersonate_user="viewer")[0] == 403
    assert world.ask("root", "GET", PODS, impersonate_user="viewer")[0] == 200
    code, status = world.ask("editor", "GET", PODS, impersonate_user="root")
    assert (code, status["message"]) == (
        403,
        'users "root" is forbidden: User "editor" cannot impersonate resource "users" in API group "" at the '
        "cluster scope",
    )
    masters = {"impersonate_user": "editor", "impersonate_group": MASTERS}
    assert world.ask("editor", "GET", PODS, **masters)[0] == 403
    assert world.ask("root", "GET", PODS, impersonate_group=MASTERS)[0] == 400


def test_what_a_cluster_needs_stays(world: World) -> None:
    code, status = world.ask("root", "DELETE", "/api/v1/namespaces/kube-system")

    assert (code, status["message"]) == (
        403,
        'namespaces "kube-system" is forbidden: this namespace may not be deleted',
    )


def test_a_refusal_of_admission_names_its_object_once(world: World) -> None:
    pod = a_pod("urgent")
    pod["spec"]["priorityClassName"] = "gone"

    code, status = world.ask("root", "POST", PODS, pod)

    assert (code, status["message"]) == (
        403,
        'pods "urgent" is forbidden: no PriorityClass with name gone was found',
    )


def test_a_token_ends_when_it_says_also_one_that_was_used_before() -> None:
    token, now = new_token(), 1_800_000_000_000
    secret = secret_of(token, "bob", (), now + 1000)
    clock = [now]
    authenticator = Authenticator(lambda _: secret, lambda obj: obj, lambda: clock[0])
    assert authenticator.grant(token) is not None

    clock[0] += 1000

    assert authenticator.grant(token) is None
