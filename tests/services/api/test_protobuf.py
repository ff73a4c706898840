"""Protobuf bodies: what kubectl and Go clients send is the object that they would send as JSON."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from typing import Any

import pytest

from schemas.definitions import definitions
from schemas.kinds import SERVED, SUBRESOURCES
from schemas.patching import Json
from services.api.failures import Failure
from services.api.protobuf import MAGIC, MOST_MESSAGES, decode, numbers
from tests.services.api.apis import CONFIG_MAPS, PODS, STATEFUL_SETS, AnApi, a_pod, a_set

PROTOBUF = "application/vnd.kubernetes.protobuf"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."

CONFIG_MAP_OF_KUBECTL = (
    "6b3873000a0f0a0276311209436f6e6669674d6170121e0a140a04676f6c641200"
    "1a0022002a0032003800420012060a01611201311a002200"
)
"""kubectl 1.33 create configmap gold --from-literal=a=1"""
REVIEW_OF_KUBECTL = (
    "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f76311217"
    "53656c665375626a656374416363657373526576696577123c0a100a0012001a00"
    "22002a00320038004200121e0a1c0a0764656661756c7412036765741a0022002a"
    "04706f647332003a001a080800120"
    "01a0020001a002200"
)
"""kubectl 1.33 auth can-i get pods"""


# --- an encoder of its own, so that the library is not asked about itself


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def part(number: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def envelope(api_version: str, kind: str, raw: bytes, more: bytes = b"") -> bytes:
    return MAGIC + part(1, part(1, api_version) + part(2, kind)) + part(2, raw) + more


def read(body: bytes, api_version: str = "v1", kind: str = "Pod") -> Any:
    return decode(body, (api_version, kind), json.loads)


def full(definition: str, chance: random.Random) -> tuple[Json, bytes]:
    """Return a value with every field of a definition that protobuf has, and its message."""
    return _struct(numbers()[definition], definitions()[definition]["properties"], chance)


def _struct(table: Any, properties: Any, chance: random.Random) -> tuple[dict[str, Any], bytes]:
    value: dict[str, Any] = {}
    message = b""
    for name, number in table.items():
        if isinstance(number, dict):
            inner, raw = _struct(number, properties, chance)
            value |= inner
            message += part(int(name), raw)
        else:
            value[name], raw = _field(number, properties[name], chance)
            message += raw
    return value, message


def _field(number: int, schema: Any, chance: random.Random) -> tuple[Json, bytes]:
    if schema.get("type") == "array":
        fields = [_field(number, schema["items"], chance) for _ in range(2)]
        return [each for each, _ in fields], b"".join(raw for _, raw in fields)
    if schema.get("type") == "object" and "additionalProperties" in schema:
        inner = schema["additionalProperties"]
        if inner.get("type") == "array":
            return {"k": ["a", "b"]}, part(number, part(1, "k") + part(2, part(1, "a") + part(1, "b")))
        value, raw = _field(2, inner, chance)
        return {"k": value}, part(number, part(1, "k") + raw)
    match schema.get("type"):
        case "string" if schema.get("format") == "byte":
            raw = chance.randbytes(7)
            return b64encode(raw).decode(), part(number, raw)
        case "string":
            text = f"é{chance.randrange(10**6)}"
            return text, part(number, text)
        case "integer":
            value = chance.choice((-1, 1, 2**31 - 1))
            return value, number_field(number, value)
        case "boolean":
            return True, number_field(number, 1)
    return _message(number, schema["$ref"].rsplit("/", 1)[1], chance)


def _message(number: int, definition: str, chance: random.Random) -> tuple[Json, bytes]:
    seconds = chance.randrange(4 * 10**9)
    match definition.rsplit(".", 1)[1]:
        case "Time":
            value, raw = "2026-11-23T02:17:59Z", number_field(1, 1795400279) + number_field(2, 5)
        case "MicroTime":
            value, raw = (
                "2026-11-23T02:17:59.000123Z",
                number_field(1, 1795400279) + number_field(2, 123_456),
            )
        case "Quantity":
            value, raw = "10Mi", part(1, "10Mi")
        case "IntOrString" if seconds % 2:
            value, raw = "50%", number_field(1, 1) + number_field(2, 0) + part(3, "50%")
        case "IntOrString":
            value, raw = 5, number_field(1, 0) + number_field(2, 5) + part(3, "")
        case "RawExtension" | "FieldsV1":
            value, raw = {"f:a": [seconds]}, part(1, json.dumps({"f:a": [seconds]}))
        case _:
            found, raw = full(definition, chance)
            return found, part(number, raw)
    return value, part(number, raw)


ROWS = {
    (row.api_version, row.kind): row.definition for row in (*SERVED, *SUBRESOURCES.values()) if row.definition
} | {("v1", "DeleteOptions"): META + "DeleteOptions", ("apps/v1", "DeleteOptions"): META + "DeleteOptions"}


@pytest.mark.parametrize(("api_version", "kind"), ROWS)
def test_every_field_of_every_kind_comes_through(api_version: str, kind: str) -> None:
    for seed in range(2):
        value, message = full(ROWS[api_version, kind], random.Random(seed))
        found = read(envelope(api_version, kind, message))
        assert found == {"apiVersion": api_version, "kind": kind, **value}


def test_a_config_map_as_kubectl_sends_it() -> None:
    assert read(bytes.fromhex(CONFIG_MAP_OF_KUBECTL)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "gold"},
        "data": {"a": "1"},
    }


def test_a_review_as_kubectl_sends_it() -> None:
    found = read(bytes.fromhex(REVIEW_OF_KUBECTL))
    assert found["spec"] == {
        "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}
    }


def test_zeros_that_go_would_not_write_are_left_out_and_those_of_pointers_are_not() -> None:
    spec = number_field(1, 0) + part(5, "")
    found = read(envelope("apps/v1", "StatefulSet", part(2, spec)))
    assert found["spec"] == {"replicas": 0}


def test_a_time_that_is_zero_is_no_time() -> None:
    assert read(envelope("v1", "Pod", part(1, part(8, b"")))) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {},
    }


def test_what_names_no_kind_is_what_the_path_takes() -> None:
    found = decode(MAGIC + part(2, part(1, part(1, "db-0"))), ("v1", "Pod"), json.loads)
    assert found == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0"}}


def test_a_field_with_a_number_that_nobody_knows_is_an_unknown_field() -> None:
    found = read(envelope("v1", "Pod", part(2, part(999, "new"))))
    assert found["spec"] == {"#999": True}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{}", 400),
        (MAGIC + b"\xff", 400),
        (envelope("v1", "Pod", b"\x0a\xff"), 400),
        (envelope("v1", "Pod", part(1, part(1, b"\xff\xfe"))), 400),
        (envelope("v1", "Pod", part(1, part(8, number_field(1, 2**62)))), 400),
        (envelope("coordination.k8s.io/v1", "Lease", part(2, part(4, number_field(2, -1)))), 400),
        (envelope("apps/v1", "ControllerRevision", part(2, part(1, "{"))), 400),
        (envelope("v1", "Pod", part(2, part(2, b"") * MOST_MESSAGES)), 400),
        (envelope("batch/v1", "Work", b""), 415),
        (envelope("v1", "Pod", b"", part(3, "gzip")), 415),
        (envelope("v1", "Pod", b"", part(4, "application/json")), 415),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: int) -> None:
    with pytest.raises(Failure) as refused:
        decode(body, ("v1", "Pod"), _read_json)
    assert refused.value.status["code"] == code


def _read_json(raw: bytes) -> Json:
    return json.loads(raw)


@pytest.mark.parametrize("seed", range(6))
def test_no_bytes_do_anything_else(seed: int) -> None:
    chance = random.Random(seed)
    _, message = full(ROWS["v1", "Pod"], chance)
    for _ in range(20):
        broken = bytearray(envelope("v1", "Pod", message))
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(4, len(broken))] = chance.randrange(256)
        assert _outcome(bytes(broken)) in (200, 400, 415)


def _outcome(body: bytes) -> int:
    try:
        json.dumps(decode(body, ("v1", "Pod"), _read_json), ensure_ascii=False).encode()
    except Failure as refused:
        return int(refused.status["code"])
    return 200


def _send(api: AnApi, method: str, path: str, body: bytes) -> Any:
    headers = {"content-type": PROTOBUF, "accept": f"{PROTOBUF},application/json"}
    return api.client.request(method, path, content=body, headers=headers)


def test_an_object_is_created_and_deleted_by_protobuf_and_answered_in_json(api: AnApi) -> None:
    made = _send(api, "POST", CONFIG_MAPS, bytes.fromhex(CONFIG_MAP_OF_KUBECTL))
    assert made.status_code == 201, made.text
    assert made.headers["content-type"] == "application/json" and made.json()["data"] == {"a": "1"}
    wrong = envelope("v1", "DeleteOptions", part(2, part(1, "another-uid")))
    assert _send(api, "DELETE", f"{CONFIG_MAPS}/gold", wrong).status_code == 409
    right = envelope("v1", "DeleteOptions", part(2, part(1, made.json()["metadata"]["uid"])))
    assert _send(api, "DELETE", f"{CONFIG_MAPS}/gold", right).json()["status"] == "Success"


def test_an_unknown_number_is_an_error_where_the_client_is_strict_and_a_warning_else(api: AnApi) -> None:
    body = envelope("v1", "ConfigMap", part(1, part(1, "newer")) + part(99, "x"))
    refused = _send(api, "POST", f"{CONFIG_MAPS}?fieldValidation=Strict", body)
    assert refused.status_code in (400, 422) and "#99" in refused.json()["message"]
    made = _send(api, "POST", f"{CONFIG_MAPS}?fieldValidation=Warn", body)
    assert made.status_code == 201 and "#99" in made.headers["warning"]


def test_a_patch_is_never_protobuf(api: AnApi) -> None:
    assert _send(api, "PATCH", f"{CONFIG_MAPS}/gold", b"k8s\0").status_code == 415


@pytest.mark.parametrize(("accept", "code"), [(PROTOBUF, 406), (f"{PROTOBUF}, */*", 200)])
def test_who_accepts_nothing_else_is_told_so(api: AnApi, accept: str, code: int) -> None:
    response = api.client.get(CONFIG_MAPS, headers={"accept": accept})
    assert response.status_code == code
    assert response.headers["content-type"] == "application/json"


def test_a_watch_that_would_like_protobuf_is_told_in_json(api: AnApi) -> None:
    version = api.get(CONFIG_MAPS)["metadata"]["resourceVersion"]
    accept = f"{PROTOBUF};stream=watch,application/json"
    with api.watch(CONFIG_MAPS, f"resourceVersion={version}", accept=accept) as events:
        body = envelope("v1", "ConfigMap", part(1, part(1, "watched")))
        assert _send(api, "POST", CONFIG_MAPS, body).status_code == 201
        assert next(events)["object"]["metadata"]["name"] == "watched"


@pytest.mark.parametrize("kind", ["Scale", "Eviction", "Binding"])
def test_parts_of_objects_come_as_protobuf_too(api: AnApi, kind: str) -> None:
    match kind:
        case "Scale":
            api.create(STATEFUL_SETS, a_set("proto", 1))
            spec = part(2, number_field(1, 3))
            body = envelope("autoscaling/v1", "Scale", part(1, part(1, "proto")) + spec)
            assert _send(api, "PUT", f"{STATEFUL_SETS}/proto/scale", body).json()["spec"] == {"replicas": 3}
        case "Eviction":
            api.create(PODS, a_pod("evicted"))
            body = envelope("policy/v1", "Eviction", part(1, part(1, "evicted")))
            assert _send(api, "POST", f"{PODS}/evicted/eviction", body).status_code == 201
            api.fails(404, "GET", f"{PODS}/evicted")
        case "Binding":
            api.create(PODS, a_pod("bound"))
            target = part(2, part(1, "Node") + part(3, "n1"))
            body = envelope("v1", "Binding", part(1, part(1, "bound")) + target)
            assert _send(api, "POST", f"{PODS}/bound/binding", body).status_code == 201
            assert api.get(f"{PODS}/bound")["spec"]["nodeName"] == "n1"
