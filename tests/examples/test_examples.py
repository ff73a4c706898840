"""The manifests in examples/ are what a user would apply: they are read, stored and valid as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from schemas.canonical import canonical
from schemas.documents import parse_documents
from schemas.objects import Object
from schemas.validation import validate_create, validate_update
from services.agent.images import ImageStore
from services.agent.runtimes.programs import ENTRYPOINT

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted(EXAMPLES.glob("*.yaml"))


def objects_of(manifest: Path) -> list[Object]:
    return [stored(obj) for obj in parse_documents(manifest.read_bytes(), manifest.name)]


def stored(obj: Object) -> Object:
    """Return an object as `apply` would store it, in the default namespace; nothing about it is doubtful."""
    result = canonical({**obj, "metadata": {"namespace": "default", **obj["metadata"]}})
    assert (result.causes, result.warnings) == ((), ())
    return result.object


def containers_of(objects: list[Object]) -> list[dict[str, Any]]:
    return [
        container
        for obj in objects
        if obj["kind"] in ("StatefulSet", "DaemonSet")
        for container in obj["spec"]["template"]["spec"]["containers"]
    ]


def test_there_are_examples() -> None:
    assert [path.name for path in MANIFESTS] == [
        "canary.yaml",
        "config.yaml",
        "fluentd.yaml",
        "greeter.yaml",
        "net-agent.yaml",
        "web.yaml",
    ]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_an_example_is_valid_as_it_is(manifest: Path) -> None:
    assert [validate_create(obj) for obj in objects_of(manifest)] == [()] * len(objects_of(manifest))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_container_has_a_command_or_an_image_that_is_there(manifest: Path) -> None:
    images = ImageStore(EXAMPLES / "images")
    for container in containers_of(objects_of(manifest)):
        tree = images.find(container["image"])
        if tree is None:
            assert container["command"]
        else:
            assert os.access(tree / ENTRYPOINT, os.X_OK)


def test_the_canary_is_an_update_of_the_greeter_that_moves_its_image_and_its_partition_only() -> None:
    old, new = objects_of(EXAMPLES / "greeter.yaml")[1], objects_of(EXAMPLES / "canary.yaml")[0]
    assert validate_update(old, new) == ()
    assert containers_of([new])[0] == containers_of([old])[0] | {"image": "greeter:1.1"}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "partition": 2}}
    template = {**old["spec"]["template"]}
    template["spec"] = {**template["spec"], "containers": containers_of([new])}
    assert new["spec"] == old["spec"] | {"template": template, "updateStrategy": rolling}
