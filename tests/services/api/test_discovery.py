"""Discovery in all its forms, from the tables of kinds."""

from __future__ import annotations

import re
from itertools import chain

import orjson
import pytest

from schemas.definitions import definitions
from schemas.kinds import ANSWERED, BY_PATH, KINDS, SERVED, SUBRESOURCES, VERBS, Kind
from schemas.patching import Json
from services.api.discovery import (
    AGGREGATED,
    aggregated,
    core_versions,
    group_list,
    group_of,
    group_versions,
    media_type_of,
    resource_list,
    version_info,
)
from tests.services.api.apis import AnApi

V2, V2_BETA = AGGREGATED


def resource(group: str, name: str) -> Json:
    found = resource_list(group, "v1")
    assert found is not None
    return next(each for each in found["resources"] if each["name"] == name)


def test_the_version_is_one_that_kubectl_can_read() -> None:
    info = version_info()
    assert re.fullmatch(r"v1\.\d+\.\d+\+chronoset", info["gitVersion"])
    assert (info["major"], info["minor"]) == ("1", "36")


def test_the_core_group_is_served_at_api() -> None:
    assert core_versions("10.0.0.1:6443") == {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}],
    }
    assert group_versions()[0] == ("", "v1")


def test_groups_name_their_versions_and_the_one_to_prefer() -> None:
    groups = {group["name"]: group for group in group_list()["groups"]}
    assert {"apps", "policy", "rbac.authorization.k8s.io", "events.k8s.io"} <= groups.keys()
    assert "" not in groups
    assert groups["authentication.k8s.io"]["preferredVersion"]["version"] == "v1"
    assert group_of("apps") == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "apps",
        "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
        "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
    }
    assert group_of("nothing") is None and resource_list("apps", "v2") is None


def test_a_resource_has_its_names_verbs_and_categories() -> None:
    assert resource("apps", "statefulsets") == {
        "name": "statefulsets",
        "singularName": "statefulset",
        "namespaced": True,
        "kind": "StatefulSet",
        "verbs": list(VERBS),
        "shortNames": ["sts"],
        "categories": ["all"],
    }
    assert "deletecollection" not in resource("", "namespaces")["verbs"]


def test_subresources_say_what_travels_there() -> None:
    assert resource("apps", "statefulsets/scale") == {
        "name": "statefulsets/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }
    eviction = resource("", "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")
    assert resource("", "pods/log")["kind"] == "Pod" and "group" not in resource("", "pods/log")


@pytest.mark.parametrize("media_type", AGGREGATED)
def test_the_aggregated_form_says_the_same_as_the_legacy_one(media_type: str) -> None:
    documents = [aggregated(root, media_type) for root in ("/api", "/apis")]
    assert {each["apiVersion"] for each in documents} == {f"apidiscovery.k8s.io/{AGGREGATED[media_type]}"}
    told = set()
    for group in chain.from_iterable(each["items"] for each in documents):
        for version in group["versions"]:
            for each in version["resources"]:
                place = (group["metadata"].get("name", ""), version["version"])
                namespaced = each["scope"] == "Namespaced"
                told.add((*place, each["resource"], each["responseKind"]["kind"], *each["verbs"], namespaced))
                for part in each.get("subresources", ()):
                    name = f"{each['resource']}/{part['subresource']}"
                    told.add((*place, name, part["responseKind"]["kind"], *part["verbs"], namespaced))
    legacy = {
        (*pair, each["name"], each["kind"], *each["verbs"], each["namespaced"])
        for pair in group_versions()
        for each in (resource_list(*pair) or {})["resources"]
    }
    assert told == legacy


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (f"{V2},{V2_BETA},application/json", V2),
        (f"{V2_BETA},application/json", V2_BETA),
        ("application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList", V2),
        (f"application/json,{V2}", "application/json"),
        ("application/json", "application/json"),
        ("application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," + V2, V2),
        ("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList", "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_the_client_says_which_form_it_reads(accept: str, media_type: str) -> None:
    assert media_type_of(accept) == media_type


@pytest.mark.parametrize("kind", SERVED, ids=lambda kind: f"{kind.kind}-{kind.version}-{kind.group}")
def test_every_row_is_whole(kind: Kind) -> None:
    assert BY_PATH[kind.group, kind.version, kind.plural] is kind
    assert kind.definition in definitions()
    assert set(kind.subresources) <= SUBRESOURCES.keys()
    assert kind.singular == kind.kind.lower() and set(kind.verbs) <= set(VERBS)
    assert orjson.dumps(resource_list(kind.group, kind.version))


def test_what_is_only_answered_says_how_and_is_not_stored() -> None:
    for kind in ANSWERED:
        ways = (bool(kind.refusal), bool(kind.stored_as), bool(kind.derived_from), kind.verbs == ("create",))
        assert sum(ways) == 1, kind
        assert not kind.is_stored
    assert all(kind.is_stored and not kind.refusal and not kind.stored_as for kind in KINDS)


def test_the_root_lists_what_there_is(api: AnApi) -> None:
    paths = api.get("/")["paths"]
    assert {"/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/readyz", "/version"} <= set(paths)


def test_health_is_told_check_by_check_to_who_asks_for_it(api: AnApi) -> None:
    assert api.ask("GET", "/readyz").text == "ok"
    assert api.ask("GET", "/readyz?verbose").text == "[+]ping ok\n[+]log ok\nreadyz check passed\n"
    assert api.ask("GET", "/livez?verbose=").text.endswith("livez check passed\n")
