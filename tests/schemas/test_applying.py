"""Applying a manifest does what `kubectl apply` does, also when others have written to the object."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.applying import LAST_APPLIED, apply_manifest, last_applied_of, three_way, with_last_applied
from schemas.errors import BadRequest
from schemas.kinds import CONFIG_MAP, STATEFUL_SET
from schemas.patching import strictly_equal
from tests.schemas.manifests import a_container, a_statefulset, a_template, an_object, stored


def spec_after(last: Any, manifest: Any, live: Any) -> Any:
    before = copy.deepcopy((last, manifest, live))
    objects = [a_statefulset(template=a_template(**pod)) for pod in (last, manifest, live)]
    result = three_way(*objects, STATEFUL_SET)["spec"]["template"]["spec"]
    assert strictly_equal(list(before), [last, manifest, live])
    return result


def test_the_manifest_wins_and_what_it_dropped_is_removed() -> None:
    last = {"hostNetwork": True, "nodeSelector": {"a": "1", "b": "1"}}
    manifest = {"nodeSelector": {"a": "2"}}
    live = {
        "hostNetwork": True,
        "nodeSelector": {"a": "1", "b": "1", "other": "x"},
        "dnsPolicy": "ClusterFirst",
    }
    result = spec_after(last, manifest, live)
    assert result["nodeSelector"] == {"a": "2", "other": "x"}
    assert "hostNetwork" not in result
    assert result["dnsPolicy"] == "ClusterFirst"


def test_what_somebody_else_changed_is_changed_back_only_where_the_manifest_speaks() -> None:
    manifest = a_statefulset(replicas=3)
    live = stored(a_statefulset(replicas=7, minReadySeconds=5))
    assert three_way(manifest, manifest, live, STATEFUL_SET)["spec"]["replicas"] == 3
    silent = a_statefulset()
    result = three_way(silent, silent, live, STATEFUL_SET)
    assert result == live


def test_containers_merge_by_name_and_keep_what_was_injected() -> None:
    def named(*names: str, **fields: Any) -> list[Any]:
        return [a_container(name=name, **fields) for name in names]

    result = spec_after(
        {"containers": named("a", "gone")},
        {"containers": named("new", "a", image="db:2")},
        {"containers": named("injected", "a", "gone", "late", imagePullPolicy="Always")},
    )
    assert [(c["name"], c["image"]) for c in result["containers"]] == [
        ("new", "db:2"),
        ("injected", "db:5.7.2"),
        ("a", "db:2"),
        ("late", "db:5.7.2"),
    ]
    assert result["containers"][2]["imagePullPolicy"] == "Always"


def test_environment_variables_merge_by_name_and_arguments_are_replaced() -> None:
    def pod(env: dict[str, str], args: list[str]) -> Any:
        listed = [{"name": name, "value": value} for name, value in env.items()]
        return {"containers": [a_container(env=listed, args=args)]}

    result = spec_after(
        pod({"A": "1", "B": "1"}, ["x", "y"]),
        pod({"A": "2"}, ["z"]),
        pod({"A": "1", "B": "1", "C": "1"}, ["x", "y", "k"]),
    )
    (container,) = result["containers"]
    assert container["env"] == [{"name": "A", "value": "2"}, {"name": "C", "value": "1"}]
    assert container["args"] == ["z"]


def test_a_volume_whose_source_changes_loses_the_old_source_whoever_wrote_it() -> None:
    result = spec_after(
        {"volumes": [{"name": "v"}]},
        {"volumes": [{"name": "v", "configMap": {"name": "c"}}]},
        {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "kept", "emptyDir": {}}]},
    )
    assert result["volumes"] == [{"name": "v", "configMap": {"name": "c"}}, {"name": "kept", "emptyDir": {}}]


def test_one_port_for_two_protocols_replaces_the_list_whole() -> None:
    def pod(*protocols: str) -> Any:
        return {
            "containers": [a_container(ports=[{"containerPort": 53, "protocol": name} for name in protocols])]
        }

    result = spec_after(pod("TCP"), pod("TCP", "UDP"), pod("TCP"))
    assert [port["protocol"] for port in result["containers"][0]["ports"]] == ["TCP", "UDP"]


def test_finalizers_are_a_set() -> None:
    def of(*finalizers: str) -> Any:
        obj = an_object("ConfigMap")
        return obj | {"metadata": obj["metadata"] | {"finalizers": list(finalizers)}}

    result = three_way(of("a/1", "a/2"), of("a/2", "a/3"), of("other/x", "a/1", "a/2"), CONFIG_MAP)
    assert result["metadata"]["finalizers"] == ["other/x", "a/2", "a/3"]


def test_a_null_in_the_manifest_removes_the_field() -> None:
    result = spec_after({}, {"nodeSelector": None}, {"nodeSelector": {"a": "1"}})
    assert "nodeSelector" not in result


def test_the_first_apply_creates_and_records_the_manifest() -> None:
    manifest = an_object("ConfigMap", data={"a": "1"})
    created = apply_manifest(manifest, None, CONFIG_MAP)
    text = created["metadata"]["annotations"][LAST_APPLIED]
    assert text == (
        '{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap",'
        '"metadata":{"annotations":{},"name":"a","namespace":"default"}}\n'
    )
    assert "annotations" not in manifest["metadata"]


def test_applying_twice_changes_nothing_and_a_dropped_annotation_goes() -> None:
    manifest = an_object("ConfigMap", data={"a": "1"})
    noted = manifest | {"metadata": manifest["metadata"] | {"annotations": {"note": "x"}}}
    live = stored(apply_manifest(noted, None, CONFIG_MAP))
    assert stored(apply_manifest(noted, live, CONFIG_MAP)) == live
    assert set(apply_manifest(manifest, live, CONFIG_MAP)["metadata"]["annotations"]) == {LAST_APPLIED}


def test_an_object_that_was_never_applied_keeps_what_the_manifest_does_not_name() -> None:
    live = an_object("ConfigMap", data={"a": "1", "b": "1"})
    result = apply_manifest(an_object("ConfigMap", data={"a": "2"}), live, CONFIG_MAP)
    assert result["data"] == {"a": "2", "b": "1"}


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_broken_annotation_is_named(text: str) -> None:
    obj = an_object("ConfigMap")
    broken = obj | {"metadata": obj["metadata"] | {"annotations": {LAST_APPLIED: text}}}
    with pytest.raises(BadRequest, match="last-applied-configuration"):
        last_applied_of(broken)


_data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]))


@given(_data, _data, _data)
def test_each_field_of_a_map_follows_the_three_way_rule(last: Any, manifest: Any, live: Any) -> None:
    objects = [an_object("ConfigMap", data=data) for data in (last, manifest, live)]
    result = three_way(*objects, CONFIG_MAP)["data"]
    for key in "abcd":
        expected = manifest.get(key) or (None if key in last else live.get(key))
        assert result.get(key) == expected


def test_the_recorded_manifest_is_read_back() -> None:
    manifest = a_statefulset(replicas=2)
    recorded = last_applied_of(with_last_applied(manifest, manifest))
    assert recorded == json.loads(json.dumps(manifest)) | {
        "metadata": manifest["metadata"] | {"annotations": {}}
    }
