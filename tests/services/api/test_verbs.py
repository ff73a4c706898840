"""The verbs on objects, over HTTP, against a log in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from events.codec import decode
from tests.services.api.apis import (
    CONFIG_MAPS,
    PATCH_TYPES,
    PODS,
    STATEFUL_SETS,
    AnApi,
    a_config_map,
    a_pod,
    a_set,
    an_api,
)

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def test_what_was_created_can_be_read_back_with_defaults_and_a_version(api: AnApi) -> None:
    made = api.create(STATEFUL_SETS, a_set("made"))
    assert made["metadata"]["uid"] and made["metadata"]["generation"] == 1
    assert made["spec"]["updateStrategy"]["type"] == "RollingUpdate"
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert api.get(f"{STATEFUL_SETS}/made") == made


def test_a_typed_clients_get_and_put_changes_nothing(api: AnApi) -> None:
    made = api.create(STATEFUL_SETS, a_set("same"))
    end = api.log.last()
    assert api.put(f"{STATEFUL_SETS}/same", made) == made
    assert api.log.last() == end


def test_a_name_is_made_where_only_its_beginning_is_given(api: AnApi) -> None:
    names = set()
    for _ in range(3):
        obj = a_config_map()
        obj["metadata"] = {"generateName": "job-"}
        names.add(api.create(CONFIG_MAPS, obj)["metadata"]["name"])
    assert len(names) == 3
    assert all(name.startswith("job-") and len(name) == len("job-") + 5 for name in names)


def test_without_a_name_nothing_is_created(api: AnApi) -> None:
    status = api.fails(422, "POST", CONFIG_MAPS, {**a_config_map(), "metadata": {}})
    assert status["message"] == (
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    )


def test_a_second_object_of_a_name_is_refused_in_kubernetes_words(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("twice"))
    status = api.fails(409, "POST", CONFIG_MAPS, a_config_map("twice"))
    assert status["reason"] == "AlreadyExists"
    assert status["message"] == 'configmaps "twice" already exists'
    assert status["details"] == {"name": "twice", "kind": "configmaps"}


def test_what_is_not_there_is_not_found_by_any_verb(api: AnApi) -> None:
    where = f"{STATEFUL_SETS}/nobody"
    for method, body in (("GET", None), ("DELETE", None), ("PUT", a_set("nobody"))):
        status = api.fails(404, method, where, body)
        assert status["message"] == 'statefulsets.apps "nobody" not found'
        assert status["details"] == {"name": "nobody", "group": "apps", "kind": "statefulsets"}


def test_a_namespace_that_is_not_there_takes_nothing(api: AnApi) -> None:
    status = api.fails(404, "POST", "/api/v1/namespaces/void/configmaps", a_config_map())
    assert status["message"] == 'namespaces "void" not found'
    assert status["details"] == {"name": "void", "kind": "namespaces"}


def test_everything_wrong_with_an_object_is_told_at_once(api: AnApi) -> None:
    wrong = a_set("wrong", replicas=-1)
    wrong["spec"]["template"]["spec"]["containers"][0]["name"] = "No Name"
    status = api.fails(422, "POST", STATEFUL_SETS, wrong)
    assert status["reason"] == "Invalid"
    assert status["message"].startswith('StatefulSet.apps "wrong" is invalid: [')
    assert status["details"]["kind"] == "StatefulSet" and status["details"]["group"] == "apps"
    fields = {cause["field"]: cause for cause in status["details"]["causes"]}
    assert fields["spec.replicas"] == {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: -1: must be greater than or equal to 0",
        "field": "spec.replicas",
    }
    assert "spec.template.spec.containers[0].name" in fields


def test_a_value_of_the_wrong_type_is_a_bad_request(api: AnApi) -> None:
    wrong: Any = a_set("mistyped")
    wrong["spec"]["replicas"] = "three"
    status = api.fails(400, "POST", STATEFUL_SETS, wrong)
    assert status["message"].startswith(
        'StatefulSet in version "v1" cannot be handled as a StatefulSet: spec.replicas'
    )


@pytest.mark.parametrize(("validation", "code"), [("Strict", 400), ("Warn", 201), ("Ignore", 201)])
def test_an_unknown_field_is_refused_named_or_dropped(api: AnApi, validation: str, code: int) -> None:
    obj = {**a_config_map(f"unknown-{validation.lower()}"), "dta": {"a": "b"}}
    response = api.ask("POST", f"{CONFIG_MAPS}?fieldValidation={validation}", obj)
    assert response.status_code == code
    if validation == "Strict":
        assert response.json()["message"] == (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta"'
        )
    else:
        assert "dta" not in response.json()
    warning = '299 - "unknown field \\"dta\\""'
    assert (warning in response.headers.get_list("warning")) is (validation == "Warn")


def test_an_update_that_names_an_old_version_conflicts_and_one_that_names_none_does_not(api: AnApi) -> None:
    made = api.create(CONFIG_MAPS, a_config_map("race", a="1"))
    now = api.put(f"{CONFIG_MAPS}/race", {**made, "data": {"a": "2"}})
    status = api.fails(409, "PUT", f"{CONFIG_MAPS}/race", {**made, "data": {"a": "3"}})
    assert status["message"] == (
        'Operation cannot be fulfilled on configmaps "race": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert api.get(f"{CONFIG_MAPS}/race") == now
    assert api.put(f"{CONFIG_MAPS}/race", a_config_map("race", a="4"))["data"] == {"a": "4"}


def test_an_update_that_means_another_object_of_the_name_conflicts(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("reborn"))
    other = {**a_config_map("reborn"), "metadata": {"name": "reborn", "uid": "1234"}}
    assert "UID in precondition: 1234" in api.fails(409, "PUT", f"{CONFIG_MAPS}/reborn", other)["message"]


def test_a_lease_that_is_put_is_created(api: AnApi) -> None:
    where = "/apis/coordination.k8s.io/v1/namespaces/default/leases/leader"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}}
    made = _good(api.ask("PUT", where, {**lease, "spec": {"holderIdentity": "a"}}), 201)
    assert made["spec"] == {"holderIdentity": "a"}
    assert api.put(where, {**lease, "spec": {"holderIdentity": "b"}})["spec"] == {"holderIdentity": "b"}


def test_a_write_of_the_object_leaves_its_status_and_a_write_of_the_status_all_else(api: AnApi) -> None:
    made = api.create(STATEFUL_SETS, {**a_set("parts"), "status": {"replicas": 7}})
    assert made.get("status", {}).get("replicas", 0) == 0
    both = {**made, "spec": {**made["spec"], "replicas": 5}, "status": {"replicas": 2, "readyReplicas": 1}}
    after = api.put(f"{STATEFUL_SETS}/parts", both)
    assert after["spec"]["replicas"] == 5 and after.get("status", {}).get("replicas", 0) == 0
    both["metadata"] = {**both["metadata"], "resourceVersion": after["metadata"]["resourceVersion"]}
    both["spec"] = {**both["spec"], "replicas": 9}
    after = api.put(f"{STATEFUL_SETS}/parts/status", both)
    assert after["spec"]["replicas"] == 5
    assert after["status"]["replicas"] == 2 and after["status"]["readyReplicas"] == 1
    assert after["metadata"]["generation"] == 2


def test_patches_of_each_type_change_what_they_say(api: AnApi) -> None:
    api.create(STATEFUL_SETS, a_set("patched"))
    where = f"{STATEFUL_SETS}/patched"
    assert (
        api.patch(where, [{"op": "replace", "path": "/spec/replicas", "value": 4}], "json")["spec"][
            "replicas"
        ]
        == 4
    )
    assert api.patch(where, {"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"] == {"a": "b"}
    image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "db:2"}]}}}}
    containers = api.patch(where, image, "strategic")["spec"]["template"]["spec"]["containers"]
    assert [(each["name"], each["image"]) for each in containers] == [("main", "db:2")]


def test_a_patch_may_rest_on_a_version(api: AnApi) -> None:
    made = api.create(CONFIG_MAPS, a_config_map("guarded"))
    where = f"{CONFIG_MAPS}/guarded"
    version = made["metadata"]["resourceVersion"]
    api.patch(where, {"metadata": {"resourceVersion": version}, "data": {"a": "1"}})
    stale = {"metadata": {"resourceVersion": version}, "data": {"a": "2"}}
    api.fails(409, "PATCH", where, stale, content_type="application/merge-patch+json")


def test_a_patch_that_renames_is_refused(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("stays"))
    renaming = {"metadata": {"name": "moves"}}
    status = api.fails(
        400, "PATCH", f"{CONFIG_MAPS}/stays", renaming, content_type="application/merge-patch+json"
    )
    assert status["message"] == "the name of the object (moves) does not match the name on the URL (stays)"


def test_server_side_apply_is_refused_with_advice(api: AnApi) -> None:
    status = api.fails(415, "PATCH", f"{CONFIG_MAPS}/any", {}, content_type="application/apply-patch+yaml")
    assert status["reason"] == "UnsupportedMediaType"


def test_scale_is_read_written_and_patched_by_itself(api: AnApi) -> None:
    api.create(STATEFUL_SETS, a_set("scaled", 2))
    where = f"{STATEFUL_SETS}/scaled/scale"
    scale = api.get(where)
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == (
        "Scale",
        {"replicas": 2},
        "app=scaled",
    )
    assert api.put(where, {**scale, "spec": {"replicas": 3}})["spec"] == {"replicas": 3}
    assert api.patch(where, {"spec": {"replicas": 4}})["spec"] == {"replicas": 4}
    assert api.get(f"{STATEFUL_SETS}/scaled")["spec"]["replicas"] == 4
    api.fails(409, "PUT", where, scale)
    api.fails(422, "PATCH", where, {"spec": {"replicas": -1}}, content_type="application/merge-patch+json")


def test_a_dry_run_answers_as_the_write_would_and_writes_nothing(api: AnApi) -> None:
    end = api.log.last()
    made = _good(api.ask("POST", f"{STATEFUL_SETS}?dryRun=All", a_set("dry")), 201)
    assert made["metadata"]["uid"] and "resourceVersion" not in made["metadata"]
    api.fails(404, "GET", f"{STATEFUL_SETS}/dry")
    assert api.log.last() == end


def test_a_dry_run_is_never_taken_for_what_is_stored(api: AnApi) -> None:
    where, change = f"{CONFIG_MAPS}/tried", {"data": {"a": "2"}}
    api.create(CONFIG_MAPS, a_config_map("tried", a="1"))
    assert api.patch(f"{where}?dryRun=All", change)["data"] == {"a": "2"}
    assert api.put(f"{where}?dryRun=All", a_config_map("tried", a="3"))["data"] == {"a": "3"}
    assert api.get(where)["data"] == {"a": "1"}


def test_a_dry_run_of_what_nobody_has_read_yet_is_not_read_later() -> None:
    with an_api() as api:
        where = "/api/v1/namespaces/kube-public"
        labels = {"metadata": {"labels": {"a": "b"}}}
        assert api.patch(f"{where}?dryRun=All", labels)["metadata"]["labels"]["a"] == "b"
        assert "a" not in api.get(where)["metadata"].get("labels", {})


def test_a_deletion_says_what_it_deleted_and_its_preconditions_hold(api: AnApi) -> None:
    made = api.create(CONFIG_MAPS, a_config_map("doomed"))
    where = f"{CONFIG_MAPS}/doomed"
    for precondition in ({"uid": "other"}, {"resourceVersion": "1"}):
        assert api.fails(409, "DELETE", where, {"preconditions": precondition})["reason"] == "Conflict"
    status = api.delete(where, {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert status["status"] == "Success"
    assert status["details"] == {"name": "doomed", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    api.fails(404, "GET", where)


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ({"propagationPolicy": "Orphan"}, ["orphan"]),
        ({"orphanDependents": True}, ["orphan"]),
    ],
)
def test_what_becomes_of_dependents_is_asked_in_old_words_and_new(
    api: AnApi, options: dict[str, Any], finalizers: list[str]
) -> None:
    name = f"owner-{'-'.join(map(str, options.values()))}".lower()
    api.create(STATEFUL_SETS, a_set(name))
    left = api.delete(f"{STATEFUL_SETS}/{name}", options)
    assert left["metadata"]["finalizers"] == finalizers
    assert "deletionTimestamp" in left["metadata"]


def test_a_bound_pod_is_given_its_time_and_removed_without_it(api: AnApi) -> None:
    pod = a_pod("graceful")
    pod["spec"]["nodeName"] = "n1"
    api.create(PODS, pod)
    asked = api.delete(f"{PODS}/graceful")
    assert asked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert api.get(f"{PODS}/graceful")["metadata"]["deletionTimestamp"]
    api.delete(f"{PODS}/graceful", {"gracePeriodSeconds": 0})
    api.fails(404, "GET", f"{PODS}/graceful")


def test_a_collection_is_deleted_by_its_labels(api: AnApi) -> None:
    for name, group in (("bulk-1", "a"), ("bulk-2", "a"), ("bulk-3", "b")):
        obj = a_config_map(name)
        obj["metadata"]["labels"] = {"bulk": group}
        api.create(CONFIG_MAPS, obj)
    deleted = api.delete(f"{CONFIG_MAPS}?labelSelector=bulk%3Da")
    assert [each["metadata"]["name"] for each in deleted["items"]] == ["bulk-1", "bulk-2"]
    left = api.get(f"{CONFIG_MAPS}?labelSelector=bulk")["items"]
    assert [each["metadata"]["name"] for each in left] == ["bulk-3"]


def test_a_pod_is_bound_once(api: AnApi) -> None:
    api.create(PODS, a_pod("placed"))
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "placed"},
        "target": {"kind": "Node", "name": "n7"},
    }
    assert api.create(f"{PODS}/placed/binding", binding)["status"] == "Success"
    pod = api.get(f"{PODS}/placed")
    assert pod["spec"]["nodeName"] == "n7"
    assert [(each["type"], each["status"]) for each in pod["status"]["conditions"]] == [
        ("PodScheduled", "True")
    ]
    assert "already assigned" in api.fails(409, "POST", f"{PODS}/placed/binding", binding)["message"]


def test_a_pod_is_evicted_where_no_budget_holds_it(api: AnApi) -> None:
    api.create(PODS, a_pod("evicted"))
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "evicted", "namespace": "default"},
    }
    assert api.create(f"{PODS}/evicted/eviction", eviction)["status"] == "Success"
    api.fails(404, "GET", f"{PODS}/evicted")


def test_who_wrote_and_from_where_is_in_the_event(api: AnApi) -> None:
    response = api.ask("POST", CONFIG_MAPS, a_config_map("written"), user_agent="kubectl/v1.33")
    position = int(response.json()["metadata"]["resourceVersion"])
    event = decode(api.log.read(position - 1, 1)[0])
    assert event.actor.name == "user:system:anonymous"
    assert event.origin.groups == ("system:masters",)
    assert (event.origin.address, event.origin.agent) == ("127.0.0.1", "kubectl/v1.33")
    assert event.command == response.headers["audit-id"]


def test_an_object_comes_as_a_table_its_metadata_or_yaml(api: AnApi) -> None:
    api.create(STATEFUL_SETS, a_set("shown"))
    where = f"{STATEFUL_SETS}/shown"
    table = api.get(where, accept=TABLE)
    assert table["kind"] == "Table" and table["rows"][0]["cells"][0] == "shown"
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = api.get(where, accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
    assert set(partial) == {"kind", "apiVersion", "metadata"}
    response = api.ask("GET", where, accept="application/yaml")
    assert response.headers["content-type"] == "application/yaml"
    assert response.text.startswith("apiVersion: apps/v1\nkind: StatefulSet\n")


def test_yaml_is_taken_as_well(api: AnApi) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\ndata: {a: b}\n"
    response = api.client.post(CONFIG_MAPS, content=text, headers={"content-type": "application/yaml"})
    assert response.status_code == 201 and response.json()["data"] == {"a": "b"}


def test_a_kind_that_is_only_known_is_empty_and_cannot_be_made(api: AnApi) -> None:
    where = "/apis/apps/v1/namespaces/default/deployments"
    assert api.get(where)["items"] == []
    assert int(api.get(where)["metadata"]["resourceVersion"]) > 0
    deployment = {**a_set("x"), "kind": "Deployment"}
    assert "make it a StatefulSet" in api.fails(403, "POST", where, deployment)["message"]
    assert api.fails(404, "GET", f"{where}/x")["message"] == 'deployments.apps "x" not found'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}', 400),
        (b'{"metadata":{"name":7}}', 400),
        (b'{"metadata":{"name":"x","namespace":"other"}}', 400),
        (b'{"metadata":{"name":"x","resourceVersion":"5"}}', 400),
        (b'{"metadata":{"name":"x"},"data":' + b'{"a":' * 120 + b"1" + b"}" * 121, 400),
        (b'{"metadata":{"name":"' + b"x" * (3 * 1024 * 1024) + b'"}}', 413),
    ],
)
def test_a_body_that_is_no_such_object_is_refused(api: AnApi, body: bytes, code: int) -> None:
    response = api.client.post(CONFIG_MAPS, content=body, headers={"content-type": "application/json"})
    assert response.status_code == code, response.text
    assert response.json()["kind"] == "Status"


def _good(response: Any, code: int) -> Any:
    assert response.status_code == code, response.text
    return response.json()


def test_an_event_is_one_object_under_two_names(api: AnApi) -> None:
    about = {"kind": "Pod", "namespace": "default", "name": "web-0"}
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "web-0.1"},
        "eventTime": "2026-11-23T06:00:00.000000Z",
        "action": "Pulling",
        "reason": "Pulled",
        "reportingController": "test",
        "reportingInstance": "test-1",
        "type": "Normal",
        "regarding": about,
        "note": "it was pulled",
    }
    where = "/apis/events.k8s.io/v1/namespaces/default/events"
    assert api.create(where, event)["note"] == "it was pulled"
    core = api.get("/api/v1/namespaces/default/events/web-0.1")
    assert (core["apiVersion"], core["message"], core["involvedObject"]["name"]) == (
        "v1",
        "it was pulled",
        "web-0",
    )
    patched = api.patch(f"{where}/web-0.1", {"note": "twice"}, "strategic")
    assert (patched["apiVersion"], patched["note"]) == ("events.k8s.io/v1", "twice")
    listed = api.get(f"{where}?fieldSelector=regarding.name%3Dweb-0")["items"]
    assert [each["note"] for each in listed] == ["twice"]
    api.delete(f"{where}/web-0.1")
    api.fails(404, "GET", "/api/v1/namespaces/default/events/web-0.1")


def test_a_field_that_nothing_acts_on_is_warned_of(api: AnApi) -> None:
    pod = a_pod("warned")
    pod["spec"]["hostPID"] = True
    warnings = api.ask("POST", PODS, pod).headers.get_list("warning")
    assert warnings == [
        '299 - "spec.hostPID is stored, and acted on where pods are containers (up --runtime docker) only"'
    ]


def test_a_part_that_is_not_served_says_so(api: AnApi) -> None:
    api.create(PODS, a_pod("mute"))
    assert api.fails(501, "GET", f"{PODS}/mute/log")["message"] == "get of pods/log is not served here"


def test_an_empty_collection_is_deleted_without_an_event(api: AnApi) -> None:
    end = api.log.last()
    assert api.delete(f"{CONFIG_MAPS}?labelSelector=nobody%3Dhere")["items"] == []
    assert api.log.last() == end


def test_a_patch_of_copies_of_copies_is_refused(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("bomb", a="1"))
    copies = [{"op": "copy", "from": "/data", "path": f"/data/{number}"} for number in range(60)]
    status = api.fails(400, "PATCH", f"{CONFIG_MAPS}/bomb", copies, content_type=PATCH_TYPES["json"])
    assert "the patch makes more than" in status["message"]


def test_writers_who_name_no_version_do_not_get_in_one_anothers_way(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("shared"))
    where = f"{CONFIG_MAPS}/shared"
    with ThreadPoolExecutor(8) as people:
        list(people.map(lambda number: api.patch(where, {"data": {f"n{number}": "1"}}), range(40)))
    assert len(api.get(where)["data"]) == 40


def test_two_servers_of_one_log_show_each_others_writes_at_once_and_share_pages() -> None:
    with an_api() as one, an_api(log=one.log) as other:
        for number in range(20):
            maker, reader = (one, other) if number % 2 else (other, one)
            made = maker.create(CONFIG_MAPS, a_config_map(f"both-{number:02}"))
            assert reader.get(f"{CONFIG_MAPS}/both-{number:02}") == made
            assert reader.fails(409, "POST", CONFIG_MAPS, a_config_map(f"both-{number:02}"))
        first = one.get(f"{CONFIG_MAPS}?limit=15")
        second = other.get(f"{CONFIG_MAPS}?limit=15&continue={first['metadata']['continue']}")
        assert len(first["items"]) + len(second["items"]) == 20


def test_a_slash_at_the_end_of_a_path_means_nothing(api: AnApi) -> None:
    for path in ("/version", "/api", "/apis", "/api/v1", "/apis/apps/v1", CONFIG_MAPS):
        assert api.get(f"{path}/")["kind" if path != "/version" else "gitVersion"]


def test_a_scale_is_a_row_of_its_own_columns(api: AnApi) -> None:
    api.create(STATEFUL_SETS, a_set("columns", 3))
    table = api.get(f"{STATEFUL_SETS}/columns/scale", accept=TABLE)
    assert [each["name"] for each in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["columns", 3, 0]


def test_a_part_that_no_kind_has_is_told_from_an_object_that_is_missing(api: AnApi) -> None:
    """By the details, which are there and empty: kubectl debug ends with a panic where there are none."""
    api.create(PODS, a_pod("whole"))
    refused = api.ask(
        "PATCH", f"{PODS}/whole/ephemeralcontainers", {}, content_type="application/merge-patch+json"
    )
    assert (refused.status_code, refused.json()["details"]) == (404, {})
    assert api.ask("GET", f"{PODS}/nobody").json()["details"] == {"name": "nobody", "kind": "pods"}


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("/apis/batch/v1/namespaces/default/jobs", "restartPolicy"),
        ("/apis/batch/v1/namespaces/default/cronjobs", "restartPolicy"),
        ("/apis/networking.k8s.io/v1/namespaces/default/ingresses", "headless Service"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "api-resources"),
    ],
)
def test_kinds_that_kubectl_asks_for_by_itself_are_empty_and_cannot_be_made(
    api: AnApi, place: str, word: str
) -> None:
    """`apply --prune` lists the first three, and `apply` of a kind that is not known the last."""
    found = api.get(place)
    assert found["items"] == [] and int(found["metadata"]["resourceVersion"]) > 0
    body = {"apiVersion": place.split("/")[2] + "/v1", "metadata": {"name": "x"}, "spec": {"anything": 1}}
    refused = api.ask("POST", place, {**body, "kind": found["kind"].removesuffix("List")})
    assert refused.status_code == 403 and word in refused.json()["message"]
