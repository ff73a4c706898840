"""replay, log and get on a real log: then and now, one line an event, and which questions are refused."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

from schemas.positions import position_of
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB

ROOT = Path(__file__).parents[3]


def replicas_at(chronoset: CommandLine, when: str) -> int:
    return int(chronoset("replay", "--at", when, "sts", "db", "-o", "json").json["spec"]["replicas"])


def test_the_state_at_each_position_is_what_it_was(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    ends = [
        chronoset("scale", "sts/db", "--replicas", str(n), "-o", "json").json["position"] for n in (5, 6, 7)
    ]
    assert [replicas_at(chronoset, end) for end in ends] == [5, 6, 7]
    assert [replicas_at(chronoset, str(position_of(end))) for end in ends] == [5, 6, 7]
    assert replicas_at(chronoset, "now") == 7


def test_what_is_replayed_now_is_what_the_projections_show(chronoset: CommandLine) -> None:
    end = chronoset("apply", "-f", "-", "-o", "json", stdin=DB).out.splitlines()[-1]
    then = chronoset("replay", "--at", "now", "sts", "-o", "json")
    now = chronoset("get", "sts", "-o", "json", "--at-least", json.loads(end)["position"])
    assert then.json == now.json


def test_replay_without_a_kind_shows_all_that_was_there(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    result = chronoset("replay", "--at", "now")
    for name in ("statefulset.apps/db", "service/db", "namespace/default", "controllerrevision.apps/db-"):
        assert name in result.out
    assert result.err.startswith("as of position ")


def test_a_moment_comes_as_csv_with_a_row_for_each_object(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    found = list(
        csv.DictReader(io.StringIO(chronoset("replay", "--at", "now", "sts,ns", "-A", "-o", "csv").out))
    )
    assert [(each["kind"], each["namespace"], each["name"]) for each in found][:2] == [
        ("StatefulSet", "default", "db"),
        ("Namespace", "", "default"),
    ]
    assert found[0]["ready"] == "0/3" and found[0]["images"] and found[1]["ready"] == ""
    assert found[1]["status"] == "Active" and list(found[0])[:3] == ["kind", "namespace", "name"]


def test_replay_of_a_time_before_the_log_says_when_it_began(chronoset: CommandLine) -> None:
    for when in ("10 minutes ago", "1-0"):
        result = chronoset("replay", "--at", when)
        assert (result.code, result.out) == (2, "")
        assert "before the log" in result.err and "began" in result.err


def test_questions_that_mean_nothing_are_refused_in_one_line(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    calls = [
        (["replay"], "--at: say when"),
        (["replay", "--at", "now", "--follow"], "--at: say when"),
        (["replay", "--at", "25:03"], "--at: '25:03' is no time: "),
        (["replay", "--at", "2026-11-23T02:17:59"], "has no time zone"),
        (["replay", "--at", "9999999999999-0"], "is beyond the log, which ends at"),
        (["replay", "--at", "now", "--from", "now"], "--from: is for --follow"),
        (["replay", "--follow", "sts"], "--follow: streams all events"),
        (
            ["replay", "--follow", "-o", "yaml"],
            "--output: events that are followed are shown as table or json",
        ),
        (
            ["replay", "--at", "2020-01-01T00:00:00Z", "sts"],
            "--at: 2020-01-01T00:00:00Z is before the log began",
        ),
        (["log", "-o", "yaml"], "'yaml' is not one of 'table', 'json'"),
        (["replay", "--at", "now", "pot"], "KIND: 'pot' is unknown"),
        (["replay", "--at", "now", "sts", "nosuch"], "did not exist in namespace default then"),
        (["log", "--from", "9999999999999-0"], "beyond the log"),
        (["log", "--tail", "x"], "'x' is no whole number"),
        (["get", "sts", "-l", "a=("], "a=("),
        (["get", "sts", "db", "-l", "a=b"], "--selector: a name is one object"),
        (["get", "sts", "db", "-A"], "--all-namespaces"),
        (["get", "sts", "--at-least", "x"], "--at-least: 'x' is no position"),
        (["get", "pods", "nosuch"], 'pods "nosuch" not found'),
        (["logs", "nosuch"], 'pods "nosuch" not found'),
    ]
    for arguments, words in calls:
        result = chronoset(*arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
        assert words in result.err, result.err


def test_the_log_shows_its_last_entries_each_with_the_one_before(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    rows = [json.loads(line) for line in chronoset("log", "--tail", "3", "-o", "json").out.splitlines()]
    assert [row["type"] for row in rows] == [
        "ServiceCreated",
        "StatefulSetCreated",
        "ControllerRevisionCreated",
    ]
    assert [row["after"] for row in rows[1:]] == [row["position"] for row in rows[:-1]]
    every = chronoset("log", "--tail", "1000").out.splitlines()
    assert "LogCreated" in every[0] and len(every) == len(chronoset.log.read(0, 1000))
    assert chronoset("log", "--from", rows[1]["position"]).out.count("\n") == 2


def test_followed_events_come_as_they_happen_until_ctrl_c(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    command = [sys.executable, "-m", "services.cli", "replay", "--follow", "--from", "beginning"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        so_far = [process.stdout.readline() for _ in chronoset.log.read(0, 1000)]
        assert "LogCreated" in so_far[0] and "ControllerRevisionCreated" in so_far[-1]
        chronoset("scale", "sts/db", "--replicas", "5")
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (130, "")
    assert "StatefulSetScaled" in line and "by user:alice" in line and "spec.replicas=5" in line


def test_get_selects_by_label_and_namespace(chronoset: CommandLine) -> None:
    labelled = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, labels: {app: %s}}}"
    chronoset("apply", "-f", "-", "-n", "default", stdin=labelled % (b"a", b"web"))
    end = chronoset("apply", "-f", "-", "-n", "kube-public", "-o", "json", stdin=labelled % (b"b", b"cache"))
    chronoset("get", "cm", "--at-least", end.json["position"])
    assert chronoset("get", "cm", "-o", "name").out == "configmap/a\n"
    assert chronoset("get", "cm", "-A", "-o", "name").out == "configmap/a\nconfigmap/b\n"
    assert chronoset("get", "cm", "-A", "-l", "app in (cache,z)", "-o", "name").out == "configmap/b\n"
    nothing = chronoset("get", "cm", "-l", "app=cache")
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err.startswith("No resources found in namespace default\nas of position ")
    for command in ("get", "describe"):
        assert chronoset(command, "pv").err.startswith("No resources found\nas of position ")
