"""get --watch: first the table, then a row for every change, the last of each object too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from events.replica import Applied
from schemas.envelopes import UPDATE, Actor, Event
from schemas.errors import BadRequest
from schemas.objects import Object, key_of_object, with_metadata
from schemas.selectors import parse_selector
from services.cli.references import parse_references
from services.cli.tables import Growing
from services.cli.watching import Change, Selection, Step, step_of
from tests.builders import a_pod
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB, SECRET

ROOT = Path(__file__).parents[3]
PODS = Selection(parse_references(["pods"]), "default", parse_selector("app=db"))


def happened(old: Object | None, new: Object | None) -> Applied:
    obj = new or old
    assert obj is not None
    event = Event(9, key_of_object(obj), "", 0, 1, 1, UPDATE, "", {}, 0, 0, Actor(""), 0, "", 0, 1, "", 0)
    return Applied(event, old, new)


def of_app(app: str) -> Object:
    return a_pod("db-0", metadata={"labels": {"app": app}})


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (None, "db", Change.ADDED),
        ("db", "db", Change.MODIFIED),
        ("db", None, Change.DELETED),
        ("web", "db", Change.ADDED),
        ("db", "web", Change.DELETED),
        ("web", "web", None),
        (None, "web", None),
        ("web", None, None),
    ],
)
def test_what_begins_or_ceases_to_be_selected_is_added_or_deleted(
    old: str | None, new: str | None, change: Change | None
) -> None:
    before, after = (of_app(app) if app else None for app in (old, new))
    step = step_of(happened(before, after), PODS)
    assert (step.change if step else None) is change


def test_what_is_deleted_is_shown_as_it_was_last_at_the_position_of_its_end() -> None:
    last = of_app("db")
    assert step_of(happened(last, None), PODS) == Step(
        Change.DELETED, with_metadata(last, resourceVersion="9")
    )


def test_another_namespace_name_or_kind_is_not_selected() -> None:
    named = Selection(parse_references(["pods", "db-1"]), "default", parse_selector(""))
    assert step_of(happened(None, of_app("db")), named) is None
    elsewhere = Selection(parse_references(["pods"]), "shop", parse_selector(""))
    assert step_of(happened(None, of_app("db")), elsewhere) is None
    everywhere = Selection(parse_references(["pods"]), "", parse_selector(""))
    assert step_of(happened(None, of_app("db")), everywhere) is not None
    sets = Selection(parse_references(["sts"]), "", parse_selector(""))
    assert step_of(happened(None, of_app("db")), sets) is None


def test_two_kinds_cannot_be_watched_in_one_table() -> None:
    with pytest.raises(BadRequest, match="one kind at a time"):
        Selection(parse_references(["sts,pods"]), "default", parse_selector(""))


def test_columns_of_a_table_that_goes_on_never_become_narrower() -> None:
    rows = Growing(("NAME", "AGE"))
    assert rows.lines([("db", "1s")]) == "NAME   AGE\ndb     1s"
    assert rows.lines([("db-long", "2s")]) == "db-long   2s"
    assert rows.lines([("db", "3s")]) == "db        3s"


@contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `chronoset get ... --watch`; end it by Ctrl-C and see that it ends as that does."""
    command = [sys.executable, "-m", "services.cli", "get", *arguments, "--watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def read(process: subprocess.Popen[str], count: int) -> list[list[str]]:
    """Return the words of the next lines."""
    assert process.stdout is not None
    return [process.stdout.readline().split() for _ in range(count)]


def applied(chronoset: CommandLine, manifests: bytes) -> None:
    """Apply, and wait for the projections."""
    last = chronoset("apply", "-f", "-", "-o", "json", stdin=manifests).out.splitlines()[-1]
    chronoset("get", "sts", "--at-least", json.loads(last)["position"])


def test_the_table_goes_on_with_a_row_for_every_change_and_for_the_end(chronoset: CommandLine) -> None:
    applied(chronoset, DB)
    with watching("sts") as process:
        header, first = read(process, 2)
        assert header[:2] == ["NAME", "READY"] and first[:2] == ["db", "0/3"]
        chronoset("scale", "sts/db", "--replicas", "5")
        assert read(process, 1)[0][:2] == ["db", "0/5"]
        chronoset("delete", "sts/db", "--cascade", "orphan")
        asked, *_ = read(process, 1)
        assert asked[:2] == ["db", "0/5"]


def test_what_a_set_waits_for_is_a_change_of_its_row(chronoset: CommandLine) -> None:
    """The sentence is in the queue's server, not in the log."""
    applied(chronoset, DB)
    from services.broker.keys import Keys
    from services.cli.session import open_session

    session = open_session(None)
    with watching("sts") as process:
        assert len(read(process, 2)) == 2
        field = "statefulset/apps/statefulsets/default/db"
        session.views._queue.hset(Keys(session.settings.cluster).sentences, field, "1-0 db-0 to become ready")
        assert " ".join(read(process, 1)[0]).endswith("db-0 to become ready")


def test_each_object_is_a_json_document_on_a_line_with_its_secrets_in_the_clear(
    chronoset: CommandLine,
) -> None:
    applied(chronoset, SECRET)
    with watching("secrets", "-o", "json", "--output-watch-events") as process:
        assert process.stdout is not None
        first: Any = json.loads(process.stdout.readline())
        assert (first["type"], first["object"]["data"]) == ("ADDED", {"word": "c2VzYW1l"})
        chronoset("patch", "secret/password", "-p", '{"data":{"word":"b3Blbg=="}}')
        second: Any = json.loads(process.stdout.readline())
        assert (second["type"], second["object"]["data"]) == ("MODIFIED", {"word": "b3Blbg=="})
        chronoset("delete", "secret/password")
        third: Any = json.loads(process.stdout.readline())
        assert (third["type"], third["object"]["data"]) == ("DELETED", {"word": "b3Blbg=="})
        versions = [int(each["object"]["metadata"]["resourceVersion"]) for each in (first, second, third)]
        assert versions == sorted(set(versions))


def test_only_what_the_selector_selects_is_shown(chronoset: CommandLine) -> None:
    labelled = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, labels: {app: %s}}}"
    applied(chronoset, labelled % (b"a", b"web"))
    with watching("cm", "-l", "app=cache") as process:
        chronoset("apply", "-f", "-", stdin=labelled % (b"b", b"cache"))
        header, row = read(process, 2)
        assert (header[0], row[0]) == ("NAME", "b")
        chronoset("patch", "cm/a", "-p", '{"metadata":{"labels":{"app":"cache"}}}')
        chronoset("patch", "cm/b", "-p", '{"metadata":{"labels":{"app":"web"}}}')
        assert [row[0] for row in read(process, 1)] == ["a"]
        (left,) = read(process, 1)
        assert (left[0], left[-1]) == ("b", "<deleted>")


def test_watching_what_is_not_there_or_cannot_be_watched_is_refused(chronoset: CommandLine) -> None:
    chronoset("get", "sts", "--at-least", str(chronoset.end()))
    for arguments, words in (
        (["sts", "nosuch", "-w"], 'statefulsets.apps "nosuch" not found'),
        (["sts,pods", "-w"], "--watch: follows one kind at a time"),
        (["sts", "--output-watch-events"], "--output-watch-events: is for --watch"),
    ):
        result = chronoset("get", *arguments)
        assert (result.code, result.out) == (2, "")
        assert words in result.err and result.err.count("\n") == 1
