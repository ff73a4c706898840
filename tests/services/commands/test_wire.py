"""What a command line and an API say to one another: it reads back as it was written, and nothing else is read."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from schemas import errors
from schemas.errors import BadRequest, Cause, ChronosetError, Invalid
from services.commands.commands import (
    Apply,
    Command,
    Cordon,
    Delete,
    Evict,
    Patch,
    Restart,
    Retain,
    Revert,
    Scale,
    Switch,
    Taint,
    Undo,
    digest,
)
from services.commands.wire import (
    command_json,
    error_json,
    outcome_json,
    read_command,
    read_error,
    read_outcome,
)
from tests.services.commands.worlds import DB, World, a_manifest, a_stored_set

POD = "core/pods/default/db-0"
NODE = "core/nodes/n1"
COMMANDS: tuple[Command, ...] = (
    Apply(a_manifest()),
    Apply(a_manifest(), "Warn"),
    Patch(DB, "merge", {"spec": {"replicas": 2}}),
    Patch(DB, "json", [{"op": "remove", "path": "/spec/replicas"}], "Ignore"),
    Patch(DB, "strategic", None),
    Scale(DB, 5),
    Scale(DB, -1),
    Delete(DB),
    Delete(POD, "orphan", 0),
    Evict(POD),
    Evict(POD, 7, "uid", "42"),
    Undo(DB),
    Undo(DB, 3),
    Restart(DB),
    Revert(DB, a_stored_set()),
    Switch(("statefulset", "daemonset"), True),
    Retain(("pods", "leases.coordination.k8s.io"), "90d"),
    Cordon(NODE, False),
    Taint(NODE, ((("key", "team"), ("value", "blue"), ("effect", "NoSchedule")),), (("old", ""),)),
)


def sent(value: Any) -> Any:
    """Return a value as it is at the other end of a wire."""
    return orjson.loads(orjson.dumps(value))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_reads_back_as_it_was_with_its_digest(command: Command) -> None:
    read = read_command(sent(command_json(command)))
    assert read == command
    assert digest(read) == digest(command)


def test_every_kind_of_command_is_among_those_tried() -> None:
    assert {type(command) for command in COMMANDS} == set(Command.__args__)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (None, "command: None is unknown; write one of Apply, Patch"),
        ({"command": "Explode", "arguments": {}}, "'Explode' is unknown"),
        ({"command": ["Scale"], "arguments": {}}, "command: None|is unknown"),
        ({"command": "Scale", "arguments": []}, r"arguments: \[\] is no object"),
        ({"command": "Scale", "arguments": {"key": DB}}, "replicas: None is not accepted"),
        ({"command": "Scale", "arguments": {"key": DB, "replicas": True}}, "replicas: True is not accepted"),
        ({"command": "Scale", "arguments": {"key": DB, "replicas": 2.0}}, "replicas: 2.0 is not accepted"),
        ({"command": "Scale", "arguments": {"key": "db", "replicas": 2}}, "key: 'db' names no object"),
        (
            {"command": "Scale", "arguments": {"key": "apps/statefulsets/db", "replicas": 2}},
            "names no object",
        ),
        ({"command": "Cordon", "arguments": {"key": "core/nodes/a/b", "cordoned": True}}, "names no object"),
        ({"command": "Cordon", "arguments": {"key": "core/nodes/", "cordoned": True}}, "names no object"),
        (
            {"command": "Scale", "arguments": {"key": DB, "replicas": 2, "force": True}},
            "arguments: Scale takes others",
        ),
        ({"command": "Undo", "arguments": {"key": DB}}, "arguments: Undo takes others"),
        ({"command": "Undo", "arguments": {"key": DB, "to_revision": -1}}, "to_revision: -1 is below 0"),
        (
            {
                "command": "Patch",
                "arguments": {"key": DB, "type": "apply", "patch": {}, "field_validation": "Warn"},
            },
            "type: 'apply' is unknown; write one of json, merge, strategic",
        ),
        (
            {"command": "Revert", "arguments": {"key": NODE, "then": a_stored_set()}},
            "then: is apps/statefulsets",
        ),
        (
            {"command": "Taint", "arguments": {"key": NODE, "added": [["a"]], "removed": []}},
            "added: .* is no list",
        ),
        ({"command": "Taint", "arguments": {"key": NODE, "added": [], "removed": [["a"]]}}, "list of pairs"),
        (
            {"command": "Taint", "arguments": {"key": NODE, "added": [[["key", "a"]]], "removed": []}},
            "is no taint",
        ),
        (
            {
                "command": "Revert",
                "arguments": {
                    "key": "core/secrets/default/s",
                    "then": {
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": {"name": "s", "namespace": "default"},
                        "data": ["a"],
                    },
                },
            },
            "then: data, annotations: write texts by name",
        ),
        (
            {"command": "Apply", "arguments": {"manifest": {"kind": "Pod"}, "field_validation": "Warn"}},
            "manifest: is no object with apiVersion, kind, name",
        ),
        (
            {"command": "Apply", "arguments": {"manifest": a_stored_set(), "field_validation": "Warn"}},
            "manifest: has a status, or metadata that only the cluster gives",
        ),
    ],
)
def test_what_is_no_command_is_refused_by_its_argument(raw: Any, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        read_command(raw)


def test_a_manifest_that_is_not_valid_is_refused_as_the_command_line_refuses_it() -> None:
    with pytest.raises(Invalid, match=r"spec\.replicas"):
        read_command(sent(command_json(Apply(a_manifest(replicas=-1)))))


def test_whatever_is_put_in_place_of_an_argument_is_a_command_or_is_refused() -> None:
    """Also values of every shape somewhere within one; never another failure."""
    chance = random.Random(6)
    oddities = (None, True, -1, 2**63, 0.5, "", "a/b", [], [[]], [None], {}, {"metadata": []}, {"spec": "x"})
    for _ in range(1_500):
        raw = sent(command_json(chance.choice(COMMANDS)))
        holder, at = raw, "arguments"
        while isinstance(holder[at], (dict, list)) and holder[at] and chance.random() < 0.8:
            holder = holder[at]
            at = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[at] = chance.choice(oddities)
        try:
            read_command(raw)
        except (BadRequest, Invalid):
            continue


def test_an_outcome_reads_back_with_all_that_its_author_is_told() -> None:
    outcome = World().run_manifest(a_manifest())
    read = read_outcome(sent(outcome_json(outcome)))
    assert read.committed.appended == outcome.committed.appended
    assert read.committed.events == outcome.committed.events
    assert read.warnings == outcome.warnings


ERRORS = (
    errors.AlreadyExists("statefulsets.apps db exists", DB),
    errors.BadRequest("no"),
    errors.ChronosetError("no"),
    errors.CommandReused("command id x was used before"),
    errors.Conflict(DB, 7, 9),
    errors.Damaged("gone", 12),
    errors.Forbidden("read-only by alice"),
    errors.Invalid(
        'StatefulSet "db"', (Cause("spec.replicas", "must be a number", "FieldValueTypeInvalid"),)
    ),
    errors.LostHistory("gone", 12),
    errors.NotFound("no such", DB),
    errors.Outdated(DB, "another uid"),
    errors.PatchFailed("no such path"),
    errors.PreconditionFailed("another uid"),
    errors.TooManyRequests("not now", (Cause("", "needs 2", "DisruptionBudget"),), 10),
    errors.Unauthorized("who?"),
    errors.Unavailable("away"),
    errors.Unsupported("two budgets"),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_reads_back_with_its_words_its_parts_and_its_exit_code(error: ChronosetError) -> None:
    read = read_error(sent(error_json(error)))
    assert type(read) is type(error)
    assert (str(read), read.exit_code, vars(read)) == (str(error), error.exit_code, vars(error))


def test_an_error_of_another_part_of_the_program_keeps_its_words() -> None:
    class Odd(ChronosetError):
        """One that the wire does not know."""

    read = read_error(sent(error_json(Odd("strange"))))
    assert (type(read), str(read)) == (ChronosetError, "strange")
