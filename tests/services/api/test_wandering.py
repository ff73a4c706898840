"""Requests at random: paths, verbs, headers and bodies that nobody would send, and the server is there afterwards."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from schemas.kinds import SERVED, SUBRESOURCES
from tests.services.api.apis import CONFIG_MAPS, AnApi, a_config_map, a_pod, a_set

REQUESTS = 120
"""Requests of a seed."""
SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 300))]
METHODS = ("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
WORDS = (
    "default",
    "kube-system",
    "nowhere",
    "a",
    "a" * 300,
    "..",
    ".",
    "%2e%2e",
    "%00",
    "%ff",
    "é",
    "~",
    "a b",
    "a/b",
    "-1",
    "status",
    "scale",
    "log",
    "exec",
    "",
)
QUERIES = (
    "watch=true&timeoutSeconds=1",
    "watch=1&resourceVersion=1&timeoutSeconds=1",
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1",
    "limit=1",
    "limit=-1",
    "limit=2&continue=xx",
    "resourceVersion=0",
    "resourceVersion=1&resourceVersionMatch=Exact",
    "resourceVersion=9223372036854775807",
    "resourceVersionMatch=Exact",
    "labelSelector=a%3Db,!c,d%20notin%20(e)",
    "labelSelector=%3D",
    "fieldSelector=metadata.name!%3Da",
    "fieldSelector=%2C%2C",
    "dryRun=All",
    "dryRun=All&dryRun=None",
    "fieldValidation=Loose",
    "propagationPolicy=Foreground",
    "propagationPolicy=Sideways",
    "gracePeriodSeconds=-1",
    "gracePeriodSeconds=99999999999999999999",
    "follow=true&tailLines=-1",
    "command=a&stdout=maybe",
    "pretty=true",
    "&&&===",
    "%",
)
HEADERS: dict[str, tuple[str, ...]] = {
    "accept": (
        "*/*",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v9;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "image/png",
        ";;;,,,",
    ),
    "content-type": (
        "application/json",
        "application/json; charset=utf-16",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "text/html",
        ";",
    ),
    "user-agent": ("", "x" * 5000),
    "impersonate-user": ("bob", ""),
    "if-none-match": ("*",),
    "content-encoding": ("gzip",),
    "range": ("bytes=0-1",),
}
BODIES: tuple[bytes, ...] = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{",
    b"\xff\xfe",
    b'"\\ud800"',
    b"[" * 5000,
    b'{"a":' * 5000,
    b"1e999",
    b"NaN",
    b'{"metadata":{"name":"a","name":"b"}}',
    b'{"kind":"Pod","apiVersion":"v1","metadata":null}',
    b'{"kind":["Pod"],"apiVersion":{}}',
    b"a: &a [*a]",
    b"a: !!python/object:os.system x",
    b"k8s\0",
    b"k8s\0\x0a\x00\x12\xff\xff\xff\xff\x0f",
    b'[{"op":"add","path":"/metadata/labels/~","value":1}]',
    b'{"$patch":"replace"}',
    b'{"spec":{"$retainKeys":["a"],"$setElementOrder/containers":[1]}}',
    b'{"metadata":{"resourceVersion":"x","uid":"y","finalizers":["a","a"]}}',
    json.dumps(a_pod("a")).encode(),
    json.dumps(a_set("a")).encode(),
    json.dumps(a_config_map("a", a="1")).encode(),
)


def _path(chance: random.Random) -> str:
    kind = chance.choice(SERVED)
    group = f"/apis/{kind.group}" if kind.group else "/api"
    steps = [group, kind.version]
    if kind.namespaced and chance.random() < 0.8:
        steps += ["namespaces", _word(chance)]
    steps.append(kind.plural)
    if chance.random() < 0.7:
        steps.append(_word(chance))
        if chance.random() < 0.4:
            steps.append(chance.choice((*SUBRESOURCES, "unknown")))
    if chance.random() < 0.2:
        steps[chance.randrange(len(steps))] = _word(chance)
    return "/" + "/".join(steps).lstrip("/")


def _word(chance: random.Random) -> str:
    word = chance.choice(WORDS)
    return quote(word, safe="/%.~")


def _ask(api: AnApi, chance: random.Random) -> tuple[Any, Any]:
    method, path = chance.choice(METHODS), _path(chance)
    if chance.random() < 0.5:
        path += f"?{chance.choice(QUERIES)}"
    chosen = chance.sample(list(HEADERS), chance.randrange(4))
    headers = {name: chance.choice(HEADERS[name]) for name in chosen}
    body = chance.choice(BODIES) if chance.random() < 0.7 else b""
    asked = (method, path, headers, body[:80])
    return asked, api.client.request(method, path, headers=headers, content=body)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_asked_is_answered_or_refused_with_a_status(api: AnApi, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(REQUESTS):
        asked, response = _ask(api, chance)
        assert response.status_code not in (500, 502, 503), (asked, response.text)
        if response.status_code >= 400 and asked[0] != "HEAD":
            status = response.json()
            assert (status["kind"], status["status"]) == ("Status", "Failure"), (asked, status)
            assert status["code"] == response.status_code and status["message"] and status["reason"], asked
    name = f"after-{seed}"
    api.create(CONFIG_MAPS, a_config_map(name, a="1"))
    assert api.get(f"{CONFIG_MAPS}/{name}")["data"] == {"a": "1"}
    api.delete(f"{CONFIG_MAPS}/{name}")
