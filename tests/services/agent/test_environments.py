"""Expansion and field references follow Kubernetes' rules."""

from __future__ import annotations

import pytest

from services.agent.downward import field_of
from services.agent.environments import environment_of, expand
from services.agent.sources import BadConfiguration
from tests.services.agent.builders import a_container, a_pod


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(NOPE)", "$(NOPE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$", "$"),
        ("$(A", "$(A"),
        ("$(A$(B))", "$(A$(B))"),
        ("$()", "$()"),
        ("$(LOOP)", "$(A)"),
    ],
)
def test_references_are_expanded_once(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2", "LOOP": "$(A)"}) == expected


def test_an_entry_sees_those_above_it_and_not_those_below() -> None:
    env = [{"name": "X", "value": "$(Y)"}, {"name": "Y", "value": "1"}, {"name": "Z", "value": "$(Y)$(BASE)"}]
    assert environment_of(a_pod(), a_container(env=env), {"BASE": "b"}) == {
        "BASE": "b",
        "X": "$(Y)",
        "Y": "1",
        "Z": "1b",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "db-0"),
        ("metadata.namespace", "default"),
        ("metadata.labels['app.kubernetes.io/name']", "db"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "n1"),
        ("status.podIPs", "127.1.1.1,127.1.1.2"),
    ],
)
def test_field_references_read_the_pod(path: str, expected: str) -> None:
    pod = a_pod(labels={"app.kubernetes.io/name": "db"})
    pod["status"] = {"podIPs": [{"ip": "127.1.1.1"}, {"ip": "127.1.1.2"}]}
    assert field_of(pod, path) == expected


@pytest.mark.parametrize(
    "container",
    [
        a_container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.replicas"}}}]),
        a_container(env=[{"name": "A", "valueFrom": {"fileKeyRef": {"path": "f", "key": "k"}}}]),
    ],
)
def test_what_cannot_be_resolved_is_named(container: dict[str, object]) -> None:
    with pytest.raises(BadConfiguration, match="accepted"):
        environment_of(a_pod(), container, {})
