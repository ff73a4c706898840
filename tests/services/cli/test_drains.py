"""`drain` as it is typed: what it prints, what it refuses, when it gives up. Pods here have no node that ends them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from events.commit import Committer, Intent, Proposal
from events.replica import Replica
from schemas.canonical import canonical
from schemas.changes import Create, Delete
from schemas.envelopes import Actor
from schemas.objects import Object, is_terminating, name_of
from services.cli import drains
from tests.builders import a_reference
from tests.services.cli.conftest import CommandLine

BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "db"},
    "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}},
}
SET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "uid": "u"}}


def a_running(name: str, owned: bool = True, grace: int = 30, **spec: Any) -> Object:
    """A Ready pod on n1, as the log keeps it."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": "db"},
            **({"ownerReferences": [a_reference(SET)]} if owned else {}),
        },
        "spec": {
            "nodeName": "n1",
            "terminationGracePeriodSeconds": grace,
            "containers": [{"name": "db", "image": "db:1"}],
            **spec,
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    return canonical(pod).object


class Node:
    """n1 in the log, and what becomes of its pods: they end when they are told to, as by an agent."""

    def __init__(self, chronoset: CommandLine) -> None:
        self._replica = Replica(chronoset.log)
        self._replica.load()
        self._ids = iter(range(1000))
        self._log = chronoset.log
        self.chronoset = chronoset
        chronoset("apply", "-f", "-", stdin=json.dumps(a_node_named("n1")).encode())

    def commit(self, *changes: Create | Delete) -> None:
        self._replica.load()
        committer = Committer(self._log, self._replica, lambda _: self._replica.load())
        committer.commit(lambda: Proposal(changes), Intent(Actor("node:n1"), f"n{next(self._ids)}"))

    def pods(self) -> list[Object]:
        self._replica.load()
        with self._replica.reading() as state:
            return sorted(state.list("core/pods"), key=name_of)

    def end_pods(self, stopping: threading.Event) -> None:
        while not stopping.wait(0.02):
            for pod in self.pods():
                if is_terminating(pod):
                    self.commit(Delete(pod))


def a_node_named(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


@pytest.fixture
def node(chronoset: CommandLine) -> Node:
    return Node(chronoset)


def test_a_node_is_cordoned_and_its_pods_evicted_until_they_are_gone(node: Node) -> None:
    node.commit(Create(a_running("db-0")), Create(a_running("db-1")))
    stopping = threading.Event()
    agent = threading.Thread(target=node.end_pods, args=(stopping,))
    agent.start()

    result = node.chronoset("drain", "n1")
    stopping.set()
    agent.join()

    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "node/n1 cordoned" and lines[-1] == "node/n1 drained"
    assert sorted(lines[1:-1]) == [
        "evicting pod default/db-0",
        "evicting pod default/db-1",
        "pod/db-0 evicted",
        "pod/db-1 evicted",
    ]
    assert node.pods() == []
    again = node.chronoset("drain", "node/n1")
    assert again.out.splitlines() == ["node/n1 already cordoned", "node/n1 drained"]


def test_a_refused_pod_is_asked_again_until_the_time_is_over(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "RETRY_SECONDS", 0.2)
    node.chronoset("apply", "-f", "-", stdin=json.dumps(BUDGET).encode())
    node.commit(Create(a_running("db-0")), Create(a_running("db-1")))

    result = node.chronoset("drain", "n1", "--timeout", "1s")

    assert result.code == 1
    assert result.out.count("evicting pod default/db-1") >= 2
    refusal = (
        'error when evicting pod "default/db-1" (will retry after 0.2s): Cannot evict pod as it would violate'
    )
    assert refusal in result.err
    assert "The disruption budget db needs 1 healthy pods and has 1 currently" in result.err
    assert (
        "error: unable to drain node n1: global timeout reached, default/db-0, default/db-1 left"
        in result.err
    )
    assert [is_terminating(pod) for pod in node.pods()] == [True, False]


def test_deletion_asks_no_budget(node: Node) -> None:
    node.chronoset("apply", "-f", "-", stdin=json.dumps(BUDGET).encode())
    node.commit(Create(a_running("db-0")))

    result = node.chronoset("drain", "n1", "--disable-eviction", "--grace-period", "0")

    assert result.code == 0
    assert "deleting pod default/db-0\npod/db-0 deleted\n" in result.out


def test_nothing_is_evicted_where_something_would_be_lost(node: Node) -> None:
    node.commit(Create(a_running("db-0")), Create(a_running("bare", owned=False)))

    result = node.chronoset("drain", "n1")

    assert result.code == 1
    assert result.err == (
        "error: unable to drain node n1: cannot delete Pods that declare no controller "
        "(use --force to override): default/bare\n"
    )
    assert not any(map(is_terminating, node.pods()))


def test_a_dry_run_writes_nothing(node: Node) -> None:
    node.commit(Create(a_running("db-0")))
    before = node.chronoset.end()

    result = node.chronoset("drain", "n1", "--dry-run")

    assert result.out.splitlines() == [
        "node/n1 cordoned (dry run)",
        "evicting pod default/db-0 (dry run)",
        "node/n1 drained (dry run)",
    ]
    assert node.chronoset.end() == before


def test_only_the_pods_that_are_selected_go(node: Node) -> None:
    node.commit(Create(a_running("db-0")))

    result = node.chronoset("drain", "n1", "--pod-selector", "app=web")

    assert result.code == 0 and "evicting" not in result.out
    assert len(node.pods()) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("n9",), 'nodes "n9" not found'),
        (("n1", "n9"), 'nodes "n9" not found'),
        (("n1", "--timeout", "soon"), "--timeout: 'soon' is no duration"),
        (("n1", "--grace-period", "x"), "'x' is no whole number from -1 on"),
        (("n1", "--pod-selector", "=a"), "selector '=a': cannot read"),
        (("../n1",), "NAME: '../n1'"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(
    node: Node, arguments: tuple[str, ...], complaint: str
) -> None:
    before = node.chronoset.end()

    result = node.chronoset("drain", *arguments)

    assert result.code == 2
    assert complaint in result.err and result.err.count("\n") == 1
    assert node.chronoset.end() == before


def test_a_node_that_cannot_be_emptied_does_not_keep_the_next_from_it(node: Node) -> None:
    node.chronoset("apply", "-f", "-", stdin=json.dumps(a_node_named("n2")).encode())
    node.commit(Create(a_running("bare", owned=False)))

    result = node.chronoset("drain", "n1", "n2")

    assert result.code == 1
    assert "node/n2 drained" in result.out and "unable to drain node n1" in result.err
