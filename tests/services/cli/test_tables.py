"""Tables for people: alignment, ages, and the columns that kubectl users know."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import kinds
from schemas.objects import Object
from schemas.pod_columns import pod_status
from schemas.times import age, parse_rfc3339
from services.cli.columns import Layout, Setting, table_of
from services.cli.options import ReadOutput
from services.cli.printing import listing_text, yaml_text
from services.cli.tables import table
from tests.builders import a_claim, a_node, a_pod, a_volume, an_object

NOW = parse_rfc3339("2026-01-01T00:10:00Z")
SETTING = Setting(NOW, {"apps/statefulsets/default/db": "db-1 to become ready"})


def a_set(name: str = "db", **status: Any) -> Object:
    template = {"spec": {"containers": [{"name": "db", "image": "mysql:5.7.2"}]}}
    return an_object(
        "StatefulSet", name, "default", "apps/v1", spec={"replicas": 3, "template": template}, status=status
    )


def lines(text: str) -> list[list[str]]:
    """Return the cells of each line; cells are set apart by three spaces or more."""
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in text.splitlines()]


def test_columns_are_aligned_and_nothing_trails() -> None:
    assert (
        table(("A", "LONG"), [("wide-cell", ""), ("x", "y")]) == "A           LONG\nwide-cell\nx           y"
    )


def test_what_would_steer_a_terminal_is_not_obeyed() -> None:
    assert table(("A",), [("\x1b[2Jgone\n",)]) == "A\n?[2Jgone?"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"), (10_799, "179m"),
     (10_800, "3h"), (11_100, "3h5m"), (28_800, "8h"), (172_800, "2d"), (187_200, "2d4h"), (691_200, "8d"),
     (63_072_000, "2y"), (63_158_400, "2y1d"), (252_288_000, "8y")],
)  # fmt: skip
def test_ages_read_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert age(0, seconds * 1000) == text


def test_a_stateful_set_shows_its_rollout_and_what_it_waits_for() -> None:
    rolling = a_set(
        readyReplicas=2, updatedReplicas=1, currentReplicas=2, currentRevision="db-a", updateRevision="db-b"
    )
    assert lines(table_of(kinds.STATEFUL_SET, [rolling], SETTING, Layout())) == [
        ["NAME", "READY", "UPDATED", "CURRENT", "REVISION", "AGE", "WAITING FOR"],
        ["db", "2/3", "1", "2", "db-a -> db-b", "10m", "db-1 to become ready"],
    ]


def test_wide_namespaces_and_kinds_add_columns() -> None:
    header, row = lines(table_of(kinds.STATEFUL_SET, [a_set()], SETTING, Layout(True, True, True)))
    assert header[:2] == ["NAMESPACE", "NAME"] and header[-3:] == ["CONTAINERS", "IMAGES", "WAITING FOR"]
    assert row[:2] == ["default", "statefulset.apps/db"] and row[-2] == "mysql:5.7.2"


def test_pods_are_sorted_by_ordinal() -> None:
    shown = lines(table_of(kinds.POD, [a_pod("db-10"), a_pod("db-2")], SETTING, Layout()))
    assert [row[0] for row in shown] == ["NAME", "db-2", "db-10"]


def container(ready: bool = False, restarts: int = 0, **state: Any) -> Object:
    return {"name": "main", "ready": ready, "restartCount": restarts, "state": state}


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Running", "containerStatuses": [container(True, running={})]}, "Running"),
        (
            {"phase": "Pending", "containerStatuses": [container(waiting={"reason": "ErrImagePull"})]},
            "ErrImagePull",
        ),
        ({"phase": "Failed", "reason": "OutOfcpu"}, "OutOfcpu"),
        ({"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 3})]}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": [container(terminated={"signal": 9})]}, "Signal:9"),
        (
            {"phase": "Succeeded", "containerStatuses": [container(terminated={"reason": "Completed"})]},
            "Completed",
        ),
        ({"phase": "Pending", "initContainerStatuses": [container(running={})]}, "Init:0/1"),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container(waiting={"reason": "CrashLoopBackOff"})],
            },
            "Init:CrashLoopBackOff",
        ),
    ],
)
def test_one_word_sums_up_a_pod(status: Object, word: str) -> None:
    pod = {**a_pod(), "status": status}
    assert pod_status(pod) == word
    leaving = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    ended = status["phase"] in ("Failed", "Succeeded")
    assert pod_status(leaving) == (word if ended else "Terminating")


def test_a_pod_shows_readiness_restarts_address_and_node() -> None:
    status = {"phase": "Running", "podIP": "127.0.0.9", "containerStatuses": [container(True, 4, running={})]}
    pod = {**a_pod("db-0", node="n1"), "status": status}
    assert lines(table_of(kinds.POD, [pod], SETTING, Layout()))[1] == [
        "db-0", "1/1", "Running", "4", "10m", "127.0.0.9", "n1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "obj", "row"),
    [
        (kinds.NODE, a_node("n1"), ["n1", "Ready", "<none>", "10m"]),
        (
            kinds.NODE,
            a_node("n1", ready="False", unschedulable=True),
            ["n1", "NotReady,SchedulingDisabled", "<none>", "10m"],
        ),
        (kinds.CLAIM, a_claim("data", "pv1"), ["data", "Bound", "pv1", "<unset>", "10m"]),
        (
            kinds.VOLUME,
            a_volume("pv1", a_claim()),
            ["pv1", "1Gi", "RWO", "Delete", "Bound", "default/data", "<unset>", "10m"],
        ),
        (kinds.NAMESPACE, an_object("Namespace", "a", status={"phase": "Active"}), ["a", "Active", "10m"]),
        (kinds.CONFIG_MAP, an_object("ConfigMap", "a", "default", data={"x": "y"}), ["a", "1", "10m"]),
        (kinds.SECRET, an_object("Secret", "a", "default"), ["a", "Opaque", "0", "10m"]),
        (
            kinds.SERVICE,
            an_object("Service", "db", "default", spec={"clusterIP": "None", "ports": [{"port": 80}]}),
            ["db", "ClusterIP", "None", "<none>", "80/TCP", "10m"],
        ),
    ],
)
def test_every_kind_has_its_columns(kind: kinds.Kind, obj: Object, row: list[str]) -> None:
    assert lines(table_of(kind, [obj], SETTING, Layout()))[1] == row


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.kind)
def test_a_table_of_any_kind_can_be_made_of_nothing(kind: kinds.Kind) -> None:
    assert table_of(kind, [], SETTING, Layout(True, True)).count("\n") == 0


@pytest.mark.parametrize(
    "text", ["y", "no", "1e3", "0x1f", "0644", "1:30", "2026-11-23", "", "~", "a: b", "x\ny", "ünï"]
)
def test_strings_come_back_from_yaml_as_the_strings_they_were(text: str) -> None:
    from schemas.documents import parse_value

    assert parse_value(yaml_text({"value": text, "list": [text, 1, True, None]}).encode()) == {
        "value": text,
        "list": [text, 1, True, None],
    }


def test_a_listing_by_name_says_the_kind() -> None:
    assert (
        listing_text([(kinds.POD, [a_pod("b"), a_pod("a")])], ReadOutput.NAME, SETTING, Layout())
        == "pod/a\npod/b"
    )
