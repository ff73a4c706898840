"""Whatever is sent, the answer is an object or a Status that says what was wrong with it: never a 500."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.services.api.apis import (
    CONFIG_MAPS,
    PATCH_TYPES,
    PODS,
    STATEFUL_SETS,
    AnApi,
    a_config_map,
    a_pod,
    a_set,
)

STRANGE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    1.5,
    "",
    "x" * 300,
    "\u0000",
    "é\ud7ff",
    "../..",
    [],
    {},
    [None],
    {"": None},
    {"a": {"b": [1, "2", {}]}},
    [{"name": "main"}, {"name": "main"}],
)
QUERIES = (
    "limit=0",
    "limit=1&continue=%00",
    "labelSelector=a%20in%20(b",
    "fieldSelector=metadata.name",
    "resourceVersion=abc",
    "resourceVersion=99999999999999999999",
    "watch=true&resourceVersion=-1",
    "watch=true&sendInitialEvents=maybe",
    "dryRun=all",
    "timeoutSeconds=1e9",
    "includeObject=Everything",
    "%ff=%ff",
    "labelSelector=%00",
    "fieldSelector=metadata.name%3D%5C",
)


def _mutated(value: Any, chance: random.Random) -> Any:
    """Return a value with one of its parts, or itself, replaced by something strange, renamed or removed."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {key: inner for key, inner in value.items() if key != name}
            case 1:
                return {
                    **value,
                    chance.choice(("", "status", "spec", "name", "$patch")): chance.choice(STRANGE),
                }
            case _:
                return {**value, name: _mutated(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], _mutated(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)


def _operations(chance: random.Random) -> list[Any]:
    paths = (
        "/metadata/labels",
        "/spec",
        "/data/a",
        "/metadata/name",
        "/spec/containers/0",
        "/spec/containers/-",
        "",
        "x",
    )
    return [
        {
            "op": chance.choice(("add", "remove", "replace", "move", "copy", "test", "burn")),
            "path": chance.choice(paths),
            "from": chance.choice(paths),
            "value": chance.choice(STRANGE),
        }
        for _ in range(chance.randrange(4))
    ]


def _check(api: AnApi, method: str, path: str, body: Any, content_type: str = "application/json") -> None:
    response = api.ask(method, path, body, content_type=content_type)
    assert response.status_code < 500, (method, path, body, response.text)
    if response.status_code >= 400:
        status = response.json()
        assert (status["kind"], status["code"]) == ("Status", response.status_code)
        assert status["message"]


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(8, 200))]
)
def test_no_body_breaks_the_server(api: AnApi, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(25):
        name = f"fuzz-{seed}-{number}"
        collection, obj = chance.choice(
            (
                (CONFIG_MAPS, a_config_map(name, a="1")),
                (PODS, a_pod(name, a="b")),
                (STATEFUL_SETS, a_set(name)),
            )
        )
        wrong = obj
        for _ in range(chance.randrange(1, 4)):
            wrong = _mutated(wrong, chance)
        _check(
            api, "POST", f"{collection}?fieldValidation={chance.choice(('Strict', 'Warn', 'Ignore'))}", wrong
        )
        api.ask("POST", collection, obj)
        where = f"{collection}/{name}{chance.choice(('', '', '/status'))}"
        _check(api, "PUT", where, wrong)
        kind = chance.choice(tuple(PATCH_TYPES))
        patch = _operations(chance) if kind == "json" else wrong
        _check(api, "PATCH", where, patch, PATCH_TYPES[kind])
        _check(
            api,
            "DELETE",
            f"{collection}/{name}",
            _mutated({"preconditions": {"uid": "x"}, "dryRun": ["All"]}, chance),
        )
        api.ask("DELETE", f"{collection}/{name}", {"gracePeriodSeconds": 0})


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_breaks_the_server(api: AnApi, query: str) -> None:
    response = api.ask("GET", f"{CONFIG_MAPS}?{query}")
    assert response.status_code < 500
    assert response.status_code == 200 or response.json()["kind"] == "Status"
