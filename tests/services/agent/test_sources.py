"""ConfigMaps, Secrets and the downward API, as environments and as files, follow the kubelet's rules."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from schemas.objects import Object, key_of
from services.agent.config_volumes import File, files_of
from services.agent.environments import environment_of
from services.agent.sources import BadConfiguration, Sources, sources_of
from tests.services.agent.builders import a_container, a_pod

SETTINGS = Sources(
    config_maps={"app": {"data": {"mode": "fast", "no=name": "x"}, "binaryData": {"logo": "AAE="}}},
    secrets={"login": {"data": {"password": base64.b64encode(b"s3cret").decode()}}},
    allocatable={"cpu": "4", "memory": "8Gi"},
)


def env_of(*entries: Object, **fields: Any) -> dict[str, str]:
    return environment_of(a_pod(), a_container(env=list(entries), **fields), {}, SETTINGS)


def one(source: Object) -> dict[str, str]:
    return env_of({"name": "X", "valueFrom": source})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"configMapKeyRef": {"name": "app", "key": "mode"}}, {"X": "fast"}),
        ({"secretKeyRef": {"name": "login", "key": "password"}}, {"X": "s3cret"}),
        ({"configMapKeyRef": {"name": "none", "key": "mode", "optional": True}}, {}),
        ({"configMapKeyRef": {"name": "app", "key": "none", "optional": True}}, {}),
        ({"secretKeyRef": {"name": "none", "key": "password", "optional": True}}, {}),
    ],
)
def test_a_variable_comes_from_a_key(source: Object, expected: dict[str, str]) -> None:
    assert one(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "mode"}}, 'configmap "none" not found'),
        (
            {"configMapKeyRef": {"name": "app", "key": "none"}},
            "couldn't find key none in ConfigMap default/app",
        ),
        ({"configMapKeyRef": {"name": "app", "key": "logo"}}, "couldn't find key logo"),
        ({"secretKeyRef": {"name": "none", "key": "password"}}, 'secret "none" not found'),
        (
            {"secretKeyRef": {"name": "login", "key": "none"}},
            "couldn't find key none in Secret default/login",
        ),
        ({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "none"}}, "no container 'none'"),
    ],
)
def test_what_is_missing_is_named(source: Object, message: str) -> None:
    with pytest.raises(BadConfiguration, match=message):
        one(source)


def test_all_keys_come_with_a_prefix_and_are_overlaid_by_single_ones() -> None:
    whole = [{"prefix": "APP_", "configMapRef": {"name": "app"}}, {"secretRef": {"name": "login"}}]
    absent = {"configMapRef": {"name": "none", "optional": True}}
    assert env_of({"name": "password", "value": "mine $(APP_mode)"}, envFrom=[*whole, absent]) == {
        "APP_mode": "fast",
        "password": "mine fast",
    }


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "1", "1"),
        ("limits.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "64"),
        ("requests.memory", None, "0"),
        ("limits.ephemeral-storage", None, "0"),
    ],
)
def test_a_variable_tells_a_limit_in_units_of_its_divisor(
    resource: str, divisor: str | None, expected: str
) -> None:
    reference = {"resource": resource} | ({"divisor": divisor} if divisor else {})
    limits = {"limits": {"cpu": "250m", "memory": "64Mi"}}
    entry = {"name": "X", "valueFrom": {"resourceFieldRef": reference}}
    assert env_of(entry, resources=limits) == {"X": expected}


def test_a_limit_that_is_not_set_is_what_the_node_has() -> None:
    assert one({"resourceFieldRef": {"resource": "limits.cpu"}}) == {"X": "4"}


def test_a_secret_that_cannot_be_opened_is_not_handed_out_sealed() -> None:
    sealed = Sources(secrets={"login": {"data": {"password": "sealed:v1:AAAA"}}})
    source = {"secretKeyRef": {"name": "login", "key": "password"}}
    container = a_container(env=[{"name": "X", "valueFrom": source}])
    with pytest.raises(BadConfiguration, match="cannot be opened"):
        environment_of(a_pod(), container, {}, sealed)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"configMap": {"name": "app"}}, {"mode": b"fast", "no=name": b"x", "logo": b"\0\1"}),
        ({"configMap": {"name": "app", "items": [{"key": "mode", "path": "a/b"}]}}, {"a/b": b"fast"}),
        ({"secret": {"secretName": "login"}}, {"password": b"s3cret"}),
        ({"secret": {"secretName": "none", "optional": True}}, {}),
        (
            {"configMap": {"name": "app", "optional": True, "items": [{"key": "none", "path": "p"}]}},
            {},
        ),
        (
            {
                "projected": {
                    "sources": [
                        {"configMap": {"name": "app", "items": [{"key": "mode", "path": "mode"}]}},
                        {"secret": {"name": "login"}},
                        {
                            "downwardAPI": {
                                "items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]
                            }
                        },
                    ]
                }
            },
            {"mode": b"fast", "password": b"s3cret", "l": b'app="db"\nquote="\\"x\\""'},
        ),
    ],
)
def test_a_volume_holds_the_keys_as_files(volume: Object, expected: dict[str, bytes]) -> None:
    pod = a_pod(labels={"quote": '"x"', "app": "db"})
    found = files_of(pod, {"name": "v", **volume}, SETTINGS)
    assert {path: file.content for path, file in found.items()} == expected


def test_a_file_has_the_mode_of_its_item_or_of_its_volume() -> None:
    items = [{"key": "mode", "path": "a", "mode": 0o400}, {"key": "mode", "path": "b"}]
    volume = {"name": "v", "configMap": {"name": "app", "defaultMode": 0o640, "items": items}}
    assert files_of(a_pod(), volume, SETTINGS) == {"a": File(b"fast", 0o400), "b": File(b"fast", 0o640)}


@pytest.mark.parametrize("path", ["../up", "/abs", "a/../b", "..data"])
def test_a_path_that_leaves_the_volume_is_refused(path: str) -> None:
    volume = {"name": "v", "configMap": {"name": "app", "items": [{"key": "mode", "path": path}]}}
    with pytest.raises(BadConfiguration, match="must be relative"):
        files_of(a_pod(), volume, SETTINGS)


def test_a_missing_key_of_a_volume_is_named() -> None:
    volume = {"name": "v", "secret": {"secretName": "login", "items": [{"key": "none", "path": "p"}]}}
    with pytest.raises(BadConfiguration, match="references non-existent config key: none"):
        files_of(a_pod(), volume, SETTINGS)


class Shelf:
    """Objects by key."""

    def __init__(self, *objects: tuple[str, str, Object]) -> None:
        self._held = {key_of(resource, "default", name): obj for resource, name, obj in objects}

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return self._held.get(key_of(resource, namespace, name))


def test_everything_that_a_pod_names_is_read() -> None:
    shelf = Shelf(
        ("core/configmaps", "a", {"n": 1}),
        ("core/configmaps", "b", {"n": 2}),
        ("core/secrets", "s", {"n": 3}),
        ("core/secrets", "unnamed", {"n": 4}),
    )
    container = a_container(
        envFrom=[{"configMapRef": {"name": "a"}}],
        env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    )
    volumes = [{"name": "v", "projected": {"sources": [{"configMap": {"name": "b"}}]}}]
    found = sources_of(a_pod("db-0", container, volumes=volumes), shelf)
    assert found.config_maps == {"a": {"n": 1}, "b": {"n": 2}} and found.secrets == {"s": {"n": 3}}
