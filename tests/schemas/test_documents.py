"""Manifests are read strictly, and what is refused is refused in one line that says what would be accepted."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from schemas.documents import MAX_BYTES, parse_documents, parse_value
from schemas.errors import BadRequest

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def data_of(text: str) -> Any:
    return parse_documents((HEAD + text).encode())[0]["data"]


def test_several_documents_are_read_in_order_and_empty_ones_skipped() -> None:
    text = f"---\n{HEAD}---\n# nothing\n---\n{HEAD.replace('name: a', 'name: b')}...\n"
    assert [obj["metadata"]["name"] for obj in parse_documents(text.encode())] == ["a", "b"]


@pytest.mark.parametrize("separator", ["\n", "", "\n---\n"])
def test_json_documents_may_follow_one_another(separator: str) -> None:
    one = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert len(parse_documents(f"{one}{separator}{one}".encode())) == 2


def test_a_flow_mapping_that_is_no_json_is_read_as_yaml() -> None:
    assert len(parse_documents(b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")) == 1


def test_the_items_of_a_list_are_objects_of_their_own() -> None:
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [item, item]}
    assert parse_documents(json.dumps(listed).encode()) == [item, item]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-23", "2026-11-23"),
        ("2026-11-23T02:17:59Z", "2026-11-23T02:17:59Z"),
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("-0x1F", -31),
        ("0b101", 5),
        ("1_000", 1000),
        ("+7", 7),
        ("08", 8.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ('"\\ud83d"', ...),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_yaml(written: str, read: Any) -> None:
    if read is ...:
        with pytest.raises(BadRequest):
            data_of(f"data: {written}\n")
        return
    found = data_of(f"data: {written}\n")
    assert (type(found), found) == (type(read), read)


def test_aliases_and_merge_keys_are_expanded() -> None:
    found = data_of("base: &base {a: 1, b: 2}\ndata:\n  <<: *base\n  b: 3\n  again: *base\n")
    assert found == {"a": 1, "b": 3, "again": {"a": 1, "b": 2}}


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    assert parse_value(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)

DEEP_ALIASES = f"a: &a {'[' * 60}{']' * 60}\nb: {'[' * 60}*a {']' * 60}\n"

REFUSED: list[tuple[str, bytes, str]] = [
    ("too large", b"#" * (MAX_BYTES + 1), "3145729 bytes are too many; a manifest may have 3145728 (3 MiB)"),
    ("not UTF-8", b"a: \xff\n", "byte 3 (0xff) is no UTF-8"),
    ("duplicate key", (HEAD + "data: {a: x, a: y}").encode(), "document 1: data.a: is written twice"),
    ("duplicate key in JSON", b'{"a": {"b": 1, "b": 2}}', "document 1: a.b: is written twice"),
    ("65 bits in JSON", b'{"a": [9223372036854775808]}', "document 1: a[0]: 9223372036854775808 does not fit"),
    ("a key with a line break", b'{"a\\nb": 1, "a\\nb": 2}', "document 1: a b: is written twice"),
    ("depth by aliases", DEEP_ALIASES.encode(), "is nested deeper than 100 levels"),
    ("a very long key", b'{"' + b"k" * 900 + b'": .nan}', "kkk..."),
    ("anchor bomb", BOMB.encode(), "aliases repeat more than 100000 values"),
    ("recursive alias", b"a: &a [*a]\n", "document 1: a[0]: the alias *a has no finished anchor"),
    ("NaN", (HEAD + "data: {a: .nan}").encode(), "document 1: data.a: .nan is no JSON number"),
    ("Infinity", (HEAD + "data: {a: -.inf}").encode(), "document 1: data.a: -.inf is no JSON number"),
    ("NaN in JSON", b'{"a": NaN}', "document 1: NaN is no JSON number"),
    ("a float beyond range", b'{"a": 1e999}', "document 1: a: 1e999 is no finite number"),
    ("number key", (HEAD + "data: {1: x}").encode(), "document 1: data: the key 1 is a number; put it in quotes"),
    ("null key", (HEAD + "data: {~: x}").encode(), "document 1: data: the key None is a null; put it in quotes"),
    ("65 bits", (HEAD + "data: {a: 9223372036854775808}").encode(), "data.a: 9223372036854775808 does not fit"),
    ("a 5,000-digit integer", b'{"a": ' + b"9" * 5000 + b"}", "does not fit 64 bits"),
    ("lone surrogate", b'{"a": {"b": ["\\ud800"]}}', "document 1: a.b[0]: '\\ud800' has half a character"),
    ("deep YAML", b"a: " + b"[" * 5000, "is nested deeper than 100 levels"),
    ("deep JSON", b"[" * 200 + b"]" * 200, "is nested deeper than 100 levels"),
    ("very deep JSON", b"[" * 200_000 + b"]" * 200_000, "is nested deeper than 100 levels"),
    ("unknown tag", (HEAD + "data: !!python/name:os.system x").encode(), "data: the tag"),
    ("broken YAML", b"a: [1\nb: 2\n", "document 1: no YAML at line 2"),
    ("a control character", b"a: \x01\n", "document 1: no YAML"),
    ("broken JSON", b'{"a": 1,, }', "document 1: no JSON at line 1, column 9"),
    ("no object", b"- a\n", "document 1: is a list; write an object"),
    ("nothing", b"# only a comment\n", "holds no object"),
    ("no kind", b"apiVersion: v1\nmetadata: {name: a}\n", "document 1: kind: is missing"),
    ("kind of wrong type", b"apiVersion: v1\nkind: 5\n", "document 1: kind: '5' is a number; write a string"),
    ("wrong group", (HEAD + "---\napiVersion: v1\nkind: StatefulSet").encode(),
     "document 2: apiVersion, kind: v1, StatefulSet is unknown; write apiVersion: apps/v1"),
    ("unknown kind", b"apiVersion: batch/v1\nkind: Job\n", "Job is unknown; write one of StatefulSet (apps/v1)"),
    ("no name", b"apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "document 1: metadata.name: is missing"),
    ("a date as name", b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 5}\n", "metadata.name: '5' is a number"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "complaint"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_bad_input_is_refused_in_one_line(data: bytes, complaint: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_documents(data, "web.yaml")
    message = str(refusal.value)
    assert message.startswith("web.yaml: ")
    assert complaint in message
    assert "\n" not in message
    assert len(message) < 600


def test_three_mebibytes_of_yaml_are_read_in_seconds() -> None:
    lines = "".join(f"  key{number}: value number {number}\n" for number in range(82_000))
    text = (HEAD + "data:\n" + lines).encode()
    assert 2_500_000 < len(text) < MAX_BYTES
    started = time.perf_counter()
    assert len(parse_documents(text)[0]["data"]) == 82_000
    assert time.perf_counter() - started < 10
