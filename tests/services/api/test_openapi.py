"""OpenAPI: every path and definition that clients look up, in both versions and in protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from schemas.definitions import definitions
from schemas.kinds import SERVED, Kind
from schemas.patching import Json
from services.api.discovery import group_versions
from services.api.openapi import Document, document_v2, document_v3, index_v3, v2_media_type
from services.api.openapi_binary import MEDIA_TYPE
from services.api.operations import operations_of

NAMED = "x-kubernetes-group-version-kind"


def read(document: Document | None) -> Json:
    assert document is not None
    return orjson.loads(document.body)


def references(node: Any) -> Iterator[str]:
    match node:
        case {"$ref": str(target)}:
            yield target
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(inner)


APPS = read(document_v3("apps", "v1"))
CORE = read(document_v3("", "v1"))
SWAGGER = read(document_v2())
SET = "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"


def test_the_index_leads_to_every_group_version_by_its_hash() -> None:
    paths = read(index_v3())["paths"]
    assert len(paths) == len(group_versions())
    document = document_v3("apps", "v1")
    assert document is not None
    assert paths["apis/apps/v1"] == {"serverRelativeURL": f"/openapi/v3/apis/apps/v1?hash={document.hash}"}
    assert "api/v1" in paths and document.etag == f'"{document.hash}"'
    assert document_v3("apps", "v9") is None


@pytest.mark.parametrize("pair", group_versions(), ids=str)
def test_every_reference_of_a_document_leads_into_it(pair: tuple[str, str]) -> None:
    document = read(document_v3(*pair))
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= schemas
    assert {f"#/definitions/{name}" for name in SWAGGER["definitions"]} >= set(references(SWAGGER))


def test_writes_take_field_validation_and_dry_run() -> None:
    for method in ("put", "patch"):
        names = {each["name"] for each in APPS["paths"][SET][method]["parameters"]}
        assert {"fieldValidation", "dryRun", "fieldManager"} <= names
    created = APPS["paths"][SET.removesuffix("/{name}")]["post"]
    assert "fieldValidation" in {each["name"] for each in created["parameters"]}


def test_a_patch_takes_strategic_merge_patches_of_its_kind() -> None:
    patch = APPS["paths"][SET]["patch"]
    assert patch[NAMED] == {"group": "apps", "version": "v1", "kind": "StatefulSet"}
    assert patch["x-kubernetes-action"] == "patch"
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert "application/apply-patch+yaml" not in patch["requestBody"]["content"]


def test_kinds_are_found_by_group_version_and_kind() -> None:
    schemas = APPS["components"]["schemas"]
    own = schemas["io.k8s.api.apps.v1.StatefulSet"]
    assert own[NAMED] == [{"group": "apps", "version": "v1", "kind": "StatefulSet"}]
    assert schemas["io.k8s.api.apps.v1.StatefulSetList"][NAMED][0]["kind"] == "StatefulSetList"
    review = read(document_v3("authentication.k8s.io", "v1beta1"))["components"]["schemas"]
    versions = [each["version"] for each in review["io.k8s.api.authentication.v1.SelfSubjectReview"][NAMED]]
    assert versions == ["v1", "v1beta1"]


def test_schemas_are_openapi_3_and_keep_the_merge_keys() -> None:
    spec = CORE["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
    assert spec["containers"]["x-kubernetes-patch-merge-key"] == "name"
    assert spec["containers"]["items"] == {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}
    either = CORE["components"]["schemas"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert either == {"format": "int-or-string", "oneOf": [{"type": "string"}, {"type": "integer"}]}
    pod = CORE["components"]["schemas"]["io.k8s.api.core.v1.Pod"]["properties"]
    assert pod["metadata"] == {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    strategy = APPS["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
    assert strategy == {
        "allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}],
        "x-kubernetes-patch-strategy": "retainKeys",
    }


@pytest.mark.parametrize("document", [APPS, CORE, SWAGGER], ids=["apps", "core", "v2"])
def test_our_own_marks_stay_at_home_and_ids_are_unique(document: Json) -> None:
    text = orjson.dumps(document)
    assert b"x-keep" not in text and b"x-always" not in text and b"$defs" not in text
    methods = ("get", "put", "post", "patch", "delete")
    ids = [
        item[name]["operationId"] for item in document["paths"].values() for name in methods if name in item
    ]
    assert len(ids) == len(set(ids))


def test_a_path_for_each_subresource() -> None:
    pod = "/api/v1/namespaces/{namespace}/pods/{name}"
    assert CORE["paths"][f"{pod}/eviction"]["post"][NAMED]["group"] == "policy"
    assert set(CORE["paths"][f"{pod}/log"]) == {"parameters", "get"}
    assert CORE["paths"][f"{pod}/exec"]["post"]["x-kubernetes-action"] == "connect"
    scale = APPS["paths"][f"{SET}/scale"]
    assert set(scale) == {"parameters", "get", "patch", "put"}
    assert [each["name"] for each in scale["parameters"]] == ["namespace", "name"]


@pytest.mark.parametrize("kind", SERVED, ids=lambda kind: f"{kind.kind}-{kind.version}-{kind.group}")
def test_every_kind_has_its_operations_in_the_swagger(kind: Kind) -> None:
    for operation in operations_of(kind):
        found = SWAGGER["paths"][operation.path][operation.deed.method]
        assert found["operationId"] == operation.id
    assert kind.definition in SWAGGER["definitions"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", MEDIA_TYPE),
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf;q=0.9, application/json", MEDIA_TYPE),
        ("application/json, application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_version_2_is_sent_in_the_form_asked_for(accept: str, media_type: str) -> None:
    assert v2_media_type(accept) == media_type


Message = dict[int, list[Any]]


def fields(message: bytes) -> Message:
    """Return the fields of a protobuf message by their numbers: numbers, or bytes."""
    found: Message = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            found.setdefault(tag >> 3, []).append(varint())
        else:
            length = varint()
            found.setdefault(tag >> 3, []).append(message[at : at + length])
            at += length
    return found


def entries(message: bytes, number: int) -> dict[str, Message]:
    """Return the entries of a map in a message: name and value."""
    named = [fields(entry) for entry in fields(message)[number]]
    return {entry[1][0].decode(): fields(entry[2][0]) for entry in named}


def schema_of(message: Message) -> Json:
    """Return what of a schema the protobuf says, in JSON again."""
    read_back: Json = {}
    for number, word in ((1, "$ref"), (2, "format")):
        if number in message:
            read_back[word] = message[number][0].decode()
    if 19 in message:
        read_back["required"] = [word.decode() for word in message[19]]
    if 21 in message:
        read_back["additionalProperties"] = schema_of(fields(fields(message[21][0])[1][0]))
    if 22 in message:
        read_back["type"] = fields(message[22][0])[1][0].decode()
    if 23 in message:
        read_back["items"] = schema_of(fields(fields(message[23][0])[1][0]))
    if message.get(25, [b""])[0]:
        read_back["properties"] = {
            name: schema_of(inner) for name, inner in entries(message[25][0], 1).items()
        }
    for extension in map(fields, message.get(31, ())):
        read_back[extension[1][0].decode()] = orjson.loads(fields(extension[2][0])[2][0])
    return read_back


def test_the_protobuf_says_what_the_json_says() -> None:
    document = fields(document_v2(MEDIA_TYPE).body)
    assert document[1] == [b"2.0"]
    schemas = {name: schema_of(message) for name, message in entries(document[9][0], 1).items()}
    assert schemas == SWAGGER["definitions"]
    assert schemas.keys() >= definitions().keys() - {"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"}
    paths = entries(document[8][0], 2)
    assert paths.keys() == SWAGGER["paths"].keys()
    patch = fields(paths[SET][8][0])
    assert patch[5] == [b"patchAppsV1NamespacedStatefulSet"]
    names = [fields(fields(fields(fields(each)[1][0])[2][0])[3][0])[4][0] for each in patch[8][:-1]]
    assert names == [b"dryRun", b"fieldManager", b"fieldValidation", b"force"]
