"""`chronoset replay`: what changed, by whom, why, how it rolled out, how it looked, and back to how it was."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from events.state import State
from schemas.positions import position_of, stream_id_of
from services.cli.playing import picture_text, pictures
from services.cli.told_rollouts import spoken_duration
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB

IMAGE = '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"mysql:9"}]'


def applied(chronoset: CommandLine) -> list[str]:
    """A set that alice made, bob scaled and carol changed; return the position after each."""
    chronoset("apply", "-f", "-", "--actor", "alice", stdin=DB)
    ends = [stream_id_of(chronoset.end())]
    for arguments in (["scale", "sts/db", "--replicas", "5", "--actor", "bob"], ["patch", "sts/db", "--type", "json", "-p", IMAGE, "--actor", "carol"]):  # fmt: skip  # noqa: E501
        ends.append(chronoset(*arguments, "-o", "json").json["position"])
    return ends


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_difference_between_two_moments_is_told_field_by_field(chronoset: CommandLine) -> None:
    one, two, three = applied(chronoset)
    result = chronoset("replay", "diff", one, two, "sts")
    assert result.out.splitlines() == ["~ statefulset/db  changed", "    spec.replicas: 3 → 5"]
    assert "1 object differs" in result.err
    found = chronoset("replay", "diff", one, three, "-o", "json").json
    assert [(each["key"].rpartition("/")[0], each["what"]) for each in found] == [
        ("apps/controllerrevisions/default", "created"),
        ("apps/statefulsets/default", "changed"),
    ]
    fields = {each["field"]: (each["before"], each["after"]) for each in found[1]["fields"]}
    assert fields["spec.replicas"] == (3, 5)
    assert [value[1] for path, value in fields.items() if path.endswith(".image")] == ["mysql:9"]
    cells = rows(
        chronoset("replay", "diff", three, one, "sts/db", "--field", "spec.replicas", "-o", "csv").out
    )
    assert cells == [
        {
            "key": "apps/statefulsets/default/db",
            "what": "changed",
            "field": "spec.replicas",
            "before": "5",
            "after": "3",
        }
    ]
    assert chronoset("replay", "diff", one, one).out == ""


def test_the_history_of_an_object_tells_who_changed_which_field(chronoset: CommandLine) -> None:
    applied(chronoset)
    found = chronoset("replay", "history", "sts/db", "-o", "json").json
    assert [(each["type"], each["claim"]) for each in found] == [
        ("StatefulSetCreated", "user:alice"),
        ("StatefulSetScaled", "user:bob"),
        ("StatefulSetTemplateChanged", "user:carol"),
    ]
    (only,) = chronoset(
        "replay", "history", "sts", "db", "--field", "spec.replicas", "-o", "json", "--limit", "1"
    ).json
    assert only["fields"] == [{"field": "spec.replicas", "before": 3, "after": 5}]
    text = chronoset("replay", "history", "sts", "db").out
    assert "by bob (socket:" in text and "    spec.replicas: 3 → 5" in text
    assert "last-applied" not in text
    cells = rows(chronoset("replay", "history", "sts/db", "--field", "spec.replicas", "-o", "csv").out)
    assert [(each["claim"], each["before"], each["after"]) for each in cells] == [
        ("user:alice", "", "3"),
        ("user:bob", "3", "5"),
    ]


def test_the_history_of_what_is_gone_is_told_too(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    chronoset("delete", "svc/db", "--actor", "bob")
    found = chronoset("replay", "history", "svc/db", "-o", "json").json
    assert [each["type"] for each in found] == ["ServiceCreated", "ServiceDeleted"]
    why = chronoset("replay", "why", "svc/db").out
    assert why.startswith("service/db is gone (now)")
    assert "because bob (socket:" in why and "deleted it" in why


def test_the_log_is_asked_by_actor_time_kind_and_type(chronoset: CommandLine) -> None:
    one, two, _ = applied(chronoset)

    def types(*arguments: str) -> list[str]:
        lines = chronoset("replay", "log", *arguments, "-o", "json").out.splitlines()
        return [json.loads(line)["type"] for line in lines]

    assert types("--actor", "bob") == ["StatefulSetScaled"]
    assert types("--since", one, "--until", two) == ["StatefulSetScaled"]
    assert types("--kind", "controllerrevisions") == ["ControllerRevisionCreated"] * 2
    assert types("--type", "*Scaled") == ["StatefulSetScaled"]
    assert types("--people", "--kind", "sts,svc") == [
        "ServiceCreated", "StatefulSetCreated", "StatefulSetScaled", "StatefulSetTemplateChanged",
    ]  # fmt: skip
    assert types("-n", "kube-system") == []
    early = chronoset("replay", "log", "--actor", "bob", "--since", "10 days ago")
    assert early.out.count("\n") == 1 and "the log began after that" in early.err
    text = chronoset("replay", "log", "--actor", "carol").out
    assert text.count("\n") == 1 and "statefulset/db" in text
    assert rows(chronoset("replay", "log", "--actor", "carol", "-o", "csv").out)[0]["key"].endswith("/db")


def test_why_leads_to_who_wished_for_it_and_what_it_changed(chronoset: CommandLine) -> None:
    _, two, three = applied(chronoset)
    result = chronoset("replay", "why", "sts", "db")
    assert result.out.startswith("statefulset/db is as it is (now)\n")
    assert (
        "because carol (socket:" in result.out
        and "mysql:9" in result.out
        and three.split("-")[0] in result.out
    )
    assert "because bob (socket:" in chronoset("replay", "why", "sts/db", "--at", two).out
    revision = (
        chronoset("get", "controllerrevisions", "-o", "name", "--at-least", three)
        .out.split()[-1]
        .rpartition("/")[2]
    )
    chain = chronoset("replay", "why", "controllerrevisions", revision, "-o", "json").json
    assert chain["complete"] and [each["type"] for each in chain["chain"]][-1] in (
        "StatefulSetTemplateChanged",
        "StatefulSetCreated",
    )


def test_rollouts_are_listed_with_who_began_them(chronoset: CommandLine) -> None:
    applied(chronoset)
    found = chronoset("replay", "rollouts", "sts/db", "-o", "json").json
    assert [(each["what"], each["number"], each["claim"], each["outcome"]) for each in found] == [
        ("created", 1, "user:alice", "superseded"),
        ("template", 2, "user:carol", "running"),
    ]
    text = chronoset("replay", "rollouts").out
    assert "superseded by 2" in text and "still running" in text and "mysql:9" in text


def test_a_revert_is_a_new_event_that_makes_the_spec_what_it_was(chronoset: CommandLine) -> None:
    one, two, three = applied(chronoset)
    before = chronoset("replay", "show", "--at", one, "sts/db", "-o", "json").json
    result = chronoset("replay", "revert", "sts/db", "--to", one, "--actor", "dora", "-o", "json")
    assert [each["type"] for each in result.json["events"]] == [
        "StatefulSetTemplateChanged",
        "ControllerRevisionRenumbered",
    ]
    assert position_of(result.json["position"]) > position_of(three)
    after = chronoset("replay", "--at", "now", "sts/db", "-o", "json").json
    assert after["spec"] == before["spec"] and after["metadata"]["uid"] == before["metadata"]["uid"]
    assert chronoset("replay", "history", "sts/db", "-o", "json").json[-1]["claim"] == "user:dora"
    again = chronoset("replay", "revert", "sts/db", "--to", one, "-o", "json")
    assert again.json["unchanged"]
    assert chronoset("replay", "--at", two, "sts/db", "-o", "json").json["spec"]["replicas"] == 5


def test_a_revert_of_data_and_of_what_is_gone(chronoset: CommandLine) -> None:
    manifest = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '%s'}}"
    first = chronoset("apply", "-f", "-", "-o", "json", stdin=manifest % b"1").json["position"]
    chronoset("apply", "-f", "-", stdin=manifest % b"2")
    assert chronoset("replay", "revert", "cm/c", "--to", first).code == 0
    assert chronoset("replay", "--at", "now", "cm/c", "-o", "json").json["data"] == {"a": "1"}
    chronoset("delete", "cm/c")
    gone = chronoset("replay", "revert", "cm/c", "--to", first)
    assert gone.code == 2 and "is not there any more; make it anew" in gone.err


def test_a_position_inside_a_batch_means_the_batchs_end_and_that_is_said(chronoset: CommandLine) -> None:
    applied(chronoset)
    created = next(each for each in chronoset.log.read(0, 1000) if each.type == "StatefulSetCreated")
    result = chronoset(
        "replay", "--at", stream_id_of(created.position), "sts,controllerrevisions", "-o", "name"
    )
    assert result.out.count("\n") == 2
    assert f"is inside a batch: its end {stream_id_of(created.position + 1)} is meant" in result.err


def test_pictures_are_printed_where_there_is_no_terminal(chronoset: CommandLine) -> None:
    pod: Any = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "alone"},
        "spec": {"containers": [{"name": "c", "image": "c:1"}]},
    }
    chronoset("apply", "-f", "-", stdin=json.dumps(pod).encode())
    first = stream_id_of(chronoset.log.read(0, 1)[0].position)
    result = chronoset("replay", "play", "--from", first)
    assert result.code == 0
    assert result.out.rstrip().splitlines()[-2:] == [
        "  (no node)  ○ alone",
        result.out.rstrip().splitlines()[-1],
    ]
    assert "PodCreated" in result.out.rstrip().splitlines()[-1]
    assert picture_text(next(pictures(State(), []))).startswith("1970")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diff", "now"], "Missing argument 'T2'"),
        (["diff", "now", "yesterday"], "T2: 'yesterday' is no time"),
        (["diff", "1-0", "now"], "T1: 1-0 is before the log: it began at"),
        (["history", "sts"], "NAME: is missing"),
        (["history", "sts/nosuch"], "there never was a statefulset/nosuch"),
        (["why", "sts/nosuch"], "there never was a statefulset/nosuch"),
        (["why", "sts/db", "--at", "9999999999999-0"], "--at: 9999999999999-0 is beyond the log"),
        (["log", "--since", "now", "--until", "1 second ago"], "before"),
        (["log", "--kind", "pot"], "'pot' is unknown"),
        (["revert", "sts/db"], "Missing option '--to'"),
        (["revert", "sts/nosuch", "--to", "now"], "there was no statefulset/nosuch"),
        (["play", "--from", "now", "--speed", "0"], "whole number from 1"),
        (["rollouts", "--since", "2035-01-01T00:00:00Z"], "is in the future"),
    ],
)
def test_questions_that_mean_nothing_are_refused(
    chronoset: CommandLine, arguments: list[str], words: str
) -> None:
    result = chronoset("replay", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err and result.err.count("\n") == 1, result.err


def test_a_field_that_never_changed_is_told_to_be_so(chronoset: CommandLine) -> None:
    applied(chronoset)
    found = chronoset("replay", "history", "sts", "db", "--field", "spec.nosuch")
    assert (found.code, found.out) == (0, "")
    assert "events changed spec.nosuch" in found.err
    assert "none of" not in chronoset("replay", "history", "sts", "db", "--field", "spec.replicas").err


@pytest.mark.parametrize(
    ("duration", "spoken"),
    [
        (6_449, "6.4 s"),
        (99_900, "99.9 s"),
        (715_877, "11 min 56 s"),
        (5_999_600, "100 min 0 s"),
        (7_500_000, "2 h 5 min"),
    ],
)
def test_how_long_a_rollout_took_is_said_as_people_do(duration: int, spoken: str) -> None:
    assert spoken_duration(duration) == spoken
