"""describe: what is, who changed it, why; of every kind, and never a Secret's value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.envelopes import UPDATE, Actor, Event
from schemas.kinds import BY_NAME, KINDS
from schemas.objects import Object
from schemas.times import parse_rfc3339
from services.cli.descriptions import Subject, description
from services.cli.paragraphs import Section, as_text, moment
from services.projections.reader import Change
from tests.builders import a_claim, a_node, a_pod, a_volume, an_object
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB, SECRET

NOW = parse_rfc3339("2026-01-01T00:10:00Z")


def described(obj: Object, **known: Any) -> list[str]:
    return description(Subject(obj, NOW, **known)).splitlines()


def section(lines: list[str], heading: str) -> list[str]:
    """Return the lines below a heading."""
    start = lines.index(f"{heading}:") + 1
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("  ")), len(lines))
    return [line.strip() for line in lines[start:end]]


def a_set() -> Object:
    return an_object(
        "StatefulSet",
        "db",
        "default",
        "apps/v1",
        spec={
            "replicas": 3,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db:2"}]},
            },
            "volumeClaimTemplates": [a_claim("data")],
        },
        status={"replicas": 3, "readyReplicas": 2, "currentRevision": "db-a", "updateRevision": "db-b"},
    )


def test_fields_are_aligned_lists_take_a_line_each_and_what_is_empty_is_left_out() -> None:
    parts = [
        ("Name", "db"),
        ("Labels", ["a=1", "b=2"]),
        ("Nothing", ""),
        Section("Pods", ["db-0"]),
        Section("No", ()),
    ]
    assert as_text(parts) == "Name:    db\nLabels:  a=1\n         b=2\nPods:\n  db-0"


def test_times_are_utc_with_their_age_or_how_long_until_then() -> None:
    assert moment("2026-01-01T00:05:00Z", NOW) == "2026-01-01T00:05:00Z (5m ago)"
    assert moment("2026-01-01T00:10:30Z", NOW) == "2026-01-01T00:10:30Z (in 30s)"
    assert moment("", NOW) == ""


def test_a_stateful_set_shows_its_rollout_pods_claims_and_what_it_waits_for() -> None:
    pod = a_pod("db-2", "n1", phase="Running", metadata={"labels": {"controller-revision-hash": "db-b"}})
    lines = described(a_set(), waiting="partition 2 holds 2 pods", pods=[pod], claims=[a_claim("data-db-2")])
    for line in (
        "Replicas:          3 desired, 3 there, 2 ready, 0 available, 0 current, 0 updated",
        "Update Strategy:   RollingUpdate partition 2",
        "Claim Retention:   whenDeleted Retain, whenScaled Delete",
        "Current Revision:  db-a",
        "Update Revision:   db-b",
        "Waiting For:       partition 2 holds 2 pods",
    ):
        assert line in lines
    assert section(lines, "Pods")[1].split()[:4] == ["db-2", "Running", "db-b", "n1"]
    assert section(lines, "Claims")[1].startswith("data-db-2")
    assert section(lines, "Claim Templates")[1].split() == ["data", "1Gi", "ReadWriteOnce"]
    assert "Image:  db:2" in section(lines, "Pod Template")


def test_a_pod_shows_its_containers_their_states_probes_and_variables() -> None:
    container = {
        "name": "main",
        "image": "db:2",
        "command": ["db", "--name", "a b"],
        "ports": [{"containerPort": 80}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/up", "port": 80}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
    }
    ended = {"terminated": {"reason": "Error", "exitCode": 3, "finishedAt": "2026-01-01T00:09:00Z"}}
    reported = {
        "name": "main",
        "ready": False,
        "restartCount": 2,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": ended,
    }
    pod = a_pod("db-0", "n1", containers=[container], claims=("data",))
    pod = {**pod, "status": {"phase": "Running", "containerStatuses": [reported]}}
    lines = described(pod)
    assert section(lines, "Containers") == [
        "main:",
        "Image:        db:2",
        "Command:      db --name 'a b'",
        "Ports:        80/TCP",
        "State:        waiting: CrashLoopBackOff",
        "Last State:   ended: Error (exit code 3) at 2026-01-01T00:09:00Z (60s ago)",
        "Ready:        False",
        "Restarts:     2",
        "Readiness:    http://:80/up; delay 0 s, timeout 1 s, period 1 s, success 1, failure 3",
        "Environment:  A=1",
        "IP from field status.podIP",
        "Mounts:       /data from data (read only)",
    ]
    assert section(lines, "Volumes") == ["data:  persistentVolumeClaim data"]
    assert "Status:     CrashLoopBackOff" in lines


def test_what_has_no_namespace_tells_those_of_its_pods() -> None:
    lines = described(a_node("n1"), pods=[a_pod("db-0", "n1")])
    header, row = section(lines, "Pods")
    assert (header.split()[:2], row.split()[:2]) == (["NAMESPACE", "NAME"], ["default", "db-0"])


def test_changes_say_who_and_why() -> None:
    """A person has no reason but the own wish; a controller's is the event that led to it, where the log has it."""
    cause = Event(
        5 << 20,
        "core/pods/default/db-0",
        "PodReady",
        0,
        1,
        1,
        UPDATE,
        "",
        {},
        0,
        0,
        Actor(""),
        0,
        "",
        0,
        1,
        "",
        0,
    )
    at = "2026-01-01T00:09:00Z"
    changes = [
        Change(9 << 20, at, "StatefulSetStatusChanged", "controller:statefulset", "", 5 << 20, "c"),
        Change(8 << 20, at, "StatefulSetStatusChanged", "controller:statefulset", "", 4 << 20, "c"),
        Change(7 << 20, at, "StatefulSetScaled", "socket:0@host", "user:alice", 0, "c"),
    ]
    lines = section(described(a_set(), changes=changes, causes={5 << 20: cause}), "Changes")
    assert [[cell.strip() for cell in line.split("   ") if cell.strip()][1:] for line in lines[1:]] == [
        [
            "9-0",
            "StatefulSetStatusChanged",
            "controller:statefulset",
            "PodReady of core/pods/default/db-0 (5-0)",
        ],
        ["8-0", "StatefulSetStatusChanged", "controller:statefulset", "4-0"],
        ["7-0", "StatefulSetScaled", "user:alice (socket:0@host)"],
    ]
    assert lines[1].startswith("2026-01-01T00:09:00Z (60s ago)")


def test_a_secret_shows_sizes_and_a_config_map_its_text() -> None:
    secret = an_object("Secret", "password", "default", data={"word": "c2VzYW1l", "gone": "sealed:1:xyz"})
    lines = described(secret)
    assert section(lines, "Data") == ["gone:  sealed: its key is not here", "word:  6 bytes"]
    assert "c2VzYW1l" not in "\n".join(lines) and "sesame" not in "\n".join(lines)
    config = an_object(
        "ConfigMap", "settings", "default", data={"a.conf": "x=1\ny=2"}, binaryData={"b": "AAAA"}
    )
    assert section(described(config), "Data") == ["a.conf:", "x=1", "y=2", "b: 3 bytes"]


@pytest.mark.parametrize(
    ("obj", "known", "line"),
    [
        (a_node("n1", unschedulable=True), {"pods": [a_pod("db-0", "n1")]}, "Unschedulable:  true"),
        (a_claim("data", "pv1"), {"pods": [a_pod("db-0")]}, "Used By:       db-0"),
        (a_volume("pv1", a_claim("data")), {}, "Claim:           default/data"),
        (a_volume("pv1"), {}, "Source:          local volumes/pv1"),
        (an_object("Namespace", "shop"), {"counts": [("pods", 2), ("secrets", 0)]}, "Holds:    pods 2"),
        (an_object("Lease", "n1", "a", "coordination.k8s.io/v1", spec={"holder": "n1"}), {}, "  holder: n1"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) and "kind" in value else "",
)  # fmt: skip
def test_every_other_kind_shows_what_it_is_about(obj: Object, known: Any, line: str) -> None:
    assert line in described(obj, **known)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_an_object_with_nothing_in_it_is_described(kind: Any) -> None:
    template = {"spec": {"containers": []}}
    specs: dict[str, Any] = {
        "StatefulSet": {"template": template},
        "DaemonSet": {"template": template},
        "Pod": {"containers": []},
    }
    assert BY_NAME[kind.api_version, kind.kind] is kind
    obj = an_object(
        kind.kind, "it", "default" if kind.namespaced else "", kind.api_version, spec=specs.get(kind.kind, {})
    )
    assert described(obj)[0].split() == ["Name:", "it"]


def test_a_set_on_a_real_log_is_described_with_its_revisions_and_its_author(chronoset: CommandLine) -> None:
    last = chronoset("apply", "-f", "-", "-o", "json", stdin=DB).out.splitlines()[-1]
    scaled = chronoset("scale", "sts/db", "--replicas", "5", "--actor", "bob", "-o", "json")
    assert json.loads(last)
    chronoset("get", "sts", "--at-least", scaled.json["position"])
    result = chronoset("describe", "sts", "db")
    lines = result.out.splitlines()
    changes = section(lines, "Changes")
    assert "StatefulSetScaled" in changes[1] and "user:bob (socket:" in changes[1]
    assert "StatefulSetCreated" in changes[2] and "user:alice" in changes[2]
    assert "mysql:5.7.2" in section(lines, "Revisions")[1]
    revision = chronoset("describe", "controllerrevisions").out.splitlines()
    assert "StatefulSetCreated of apps/statefulsets/default/db" in section(revision, "Changes")[1]
    assert len(section(chronoset("describe", "sts/db", "--changes", "1").out.splitlines(), "Changes")) == 2
    assert result.err.startswith("as of position ")


def test_a_sealed_secret_is_described_by_its_size(chronoset: CommandLine) -> None:
    end = chronoset("apply", "-f", "-", "-o", "json", stdin=SECRET)
    chronoset("get", "secrets", "--at-least", end.json["position"])
    out = chronoset("describe", "secret/password").out
    assert "word:  6 bytes" in out and "c2VzYW1l" not in out and "sesame" not in out


def test_describing_what_is_not_there_is_refused(chronoset: CommandLine) -> None:
    chronoset("get", "sts", "--at-least", str(chronoset.end()))
    for arguments, words in (
        (["sts", "nosuch"], 'statefulsets.apps "nosuch" not found in namespace default'),
        (["pot"], "KIND: 'pot' is unknown"),
        (["sts/db", "--changes", "x"], "'x' is no whole number"),
    ):
        result = chronoset("describe", *arguments)
        assert (result.code, result.out) == (2, "")
        assert words in result.err and result.err.count("\n") == 1
