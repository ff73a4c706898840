"""Commands, what came of them, and why they failed, as JSON: what a command line and an API say to one another. Pure.

A command is `{"command": "Scale", "arguments": {"key": ..., "replicas": 5}}`. Whoever reads one knows nothing of its
author, so every argument is looked at, and one that does not read back exactly as it was written is refused: an
argument of a later release is never left out of what is carried out, and both sides compute the same digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from events.commit import Committed
from events.log import Appended
from schemas.envelopes import Actor, Event, Origin
from schemas.errors import (
    AlreadyExists,
    BadRequest,
    Cause,
    ChronosetError,
    CommandReused,
    Conflict,
    Damaged,
    Forbidden,
    Invalid,
    LostHistory,
    NotFound,
    Outdated,
    PatchFailed,
    PreconditionFailed,
    Thinned,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from schemas.kinds import BY_NAME, BY_RESOURCE, SECRET
from schemas.objects import Key, Object, key_of_object
from schemas.patching import Json, strictly_equal
from services.commands.commands import (
    FIELD_VALIDATIONS,
    PATCH_TYPES,
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
)
from services.commands.execution import Outcome

MESSAGE, CAUSES = "message", "causes"
_SHOWN = 60
_TAINT = frozenset(("key", "value", "effect"))


def command_json(command: Command) -> Object:
    """Return a command as orjson writes it."""
    return {"command": type(command).__name__, "arguments": command}


def read_command(raw: Json) -> Command:
    """Return the command that a value says. Raises BadRequest, which names the argument; Invalid (a manifest)."""
    name, arguments = (raw.get("command"), raw.get("arguments")) if isinstance(raw, dict) else (None, None)
    read = _READERS.get(name) if isinstance(name, str) else None
    if read is None:
        raise BadRequest(f"command: {_shown(name)} is unknown; write one of {', '.join(_READERS)}")
    if not isinstance(arguments, dict):
        raise BadRequest(f"arguments: {_shown(arguments)} is no object")
    command = read(_Arguments(arguments))
    if not strictly_equal(orjson.loads(orjson.dumps(command)), arguments):
        raise BadRequest(f"arguments: {name} takes others: {_shown(sorted(arguments))}")
    return command


def outcome_json(outcome: Outcome) -> Object:
    """Return what came of a command as orjson writes it."""
    return {
        "appended": outcome.committed.appended,
        "events": [_event_json(event) for event in outcome.committed.events],
        "warnings": outcome.warnings,
    }


def read_outcome(raw: Any) -> Outcome:
    """Return what came of a command; its objects are not told. Raises KeyError and the like for anything else."""
    appended = Appended(**raw["appended"])
    events = tuple(map(_read_event, raw["events"]))
    return Outcome(Committed(appended, events), tuple(raw["warnings"]))


def error_json(error: ChronosetError) -> Object:
    """Return an error by the name of its class and what that is made of."""
    name = type(error).__name__ if type(error).__name__ in _ERRORS else ChronosetError.__name__
    fields = _ERRORS[name][1]
    return {
        "name": name,
        "arguments": [str(error) if field == MESSAGE else getattr(error, field) for field in fields],
    }


def read_error(raw: Any) -> ChronosetError:
    """Return the error that was told. Raises KeyError and the like for anything else."""
    kind, fields = _ERRORS[raw["name"]]
    arguments = [
        tuple(Cause(**cause) for cause in value) if field == CAUSES else value
        for field, value in zip(fields, raw["arguments"], strict=True)
    ]
    return kind(*arguments)


def _event_json(event: Event) -> Object:
    return {**event._asdict(), "actor": event.actor._asdict(), "origin": event.origin._asdict()}


def _read_event(raw: Any) -> Event:
    actor = Actor(**raw["actor"])
    origin = Origin(**{**raw["origin"], "groups": tuple(raw["origin"]["groups"])})
    return Event(**{**raw, "actor": actor, "origin": origin})


@dataclass(frozen=True, slots=True)
class _Arguments:
    """A command's arguments, read one by one. Every method raises BadRequest, which names the argument."""

    given: Object

    def value(self, name: str, *kinds: type) -> Any:
        found = self.given.get(name)
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            raise BadRequest(f"arguments: {name}: {_shown(found)} is not accepted")
        return found

    def text(self, name: str) -> str:
        found: str = self.value(name, str)
        return found

    def number(self, name: str) -> int:
        found: int = self.value(name, int)
        return found

    def count(self, name: str) -> int | None:
        """A whole number not below 0, or nothing."""
        found: int | None = self.value(name, int, type(None))
        if found is not None and found < 0:
            raise BadRequest(f"arguments: {name}: {found} is below 0")
        return found

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        found = self.text(name)
        if found not in choices:
            raise BadRequest(
                f"arguments: {name}: {_shown(found)} is unknown; write one of {', '.join(choices)}"
            )
        return found

    def key(self) -> Key:
        key = self.text("key")
        parts = key.split("/")
        kind = BY_RESOURCE.get("/".join(parts[:2]))
        if kind is None or len(parts) != (4 if kind.namespaced else 3) or not all(parts):
            raise BadRequest(
                f"arguments: key: {_shown(key)} names no object, as apps/statefulsets/default/db does"
            )
        return key

    def object(self, name: str) -> Object:
        """An object of a known kind with a name, and a namespace where its kind has one."""
        found: Object = self.value(name, dict)
        metadata = found.get("metadata")
        named = (found.get("apiVersion"), found.get("kind"))
        kind = BY_NAME.get(named) if all(isinstance(each, str) for each in named) else None  # type: ignore[arg-type]
        fields = ("name", "namespace") if kind and kind.namespaced else ("name",)
        if (
            kind is None
            or not isinstance(metadata, dict)
            or not all(isinstance(metadata.get(field), str) and metadata[field] for field in fields)
        ):
            raise BadRequest(f"arguments: {name}: is no object with apiVersion, kind, {', '.join(fields)}")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        return _texts(self.value(name, list), name)

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        return _pairs(self.value(name, list), name)


def _is_of_texts(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    )


def _texts(values: object, name: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise BadRequest(f"arguments: {name}: {_shown(values)} is no list of texts")
    return tuple(values)


def _pairs(values: object, name: str) -> tuple[tuple[str, str], ...]:
    found = [_texts(each, name) for each in values] if isinstance(values, list) else [("",)]
    if any(len(each) != 2 for each in found):
        raise BadRequest(f"arguments: {name}: {_shown(values)} is no list of pairs of texts")
    return tuple((first, second) for first, second in found)


def _apply(given: _Arguments) -> Apply:
    """A manifest as `checked_manifest` leaves it: nothing in it that is ours to say."""
    from services.commands.manifests import checked_manifest

    manifest, validation = given.object("manifest"), given.choice("field_validation", FIELD_VALIDATIONS)
    if checked_manifest(manifest, "", validation) != manifest:
        raise BadRequest("arguments: manifest: has a status, or metadata that only the cluster gives")
    return Apply(manifest, validation)


def _patch(given: _Arguments) -> Patch:
    type_, validation = given.choice("type", PATCH_TYPES), given.choice("field_validation", FIELD_VALIDATIONS)
    return Patch(given.key(), type_, given.given.get("patch"), validation)


def _revert(given: _Arguments) -> Revert:
    key, then = given.key(), given.object("then")
    if key_of_object(then) != key:
        raise BadRequest(f"arguments: then: is {key_of_object(then)}, not {key}")
    if then["kind"] == SECRET.kind and not all(
        map(_is_of_texts, (then.get("data"), then["metadata"].get("annotations")))
    ):
        raise BadRequest("arguments: then: data, annotations: write texts by name")
    return Revert(key, then)


def _taint(given: _Arguments) -> Taint:
    added = tuple(_pairs(each, "added") for each in given.value("added", list))
    for each in added:
        if not {"key", "effect"} <= dict(each).keys() <= _TAINT:
            raise BadRequest(
                f"arguments: added: {_shown(each)} is no taint; it has key, effect and maybe value"
            )
    return Taint(given.key(), added, given.pairs("removed"))


_READERS: Mapping[str, Callable[[_Arguments], Command]] = {
    "Apply": _apply,
    "Patch": _patch,
    "Scale": lambda given: Scale(given.key(), given.number("replicas")),
    "Delete": lambda given: Delete(given.key(), given.text("cascade"), given.count("grace_seconds")),
    "Evict": lambda given: Evict(
        given.key(), given.count("grace_seconds"), given.text("uid"), given.text("resource_version")
    ),
    "Undo": lambda given: Undo(given.key(), given.count("to_revision")),
    "Restart": lambda given: Restart(given.key()),
    "Revert": _revert,
    "Switch": lambda given: Switch(given.texts("controllers"), given.value("paused", bool)),
    "Retain": lambda given: Retain(given.texts("kinds"), given.text("period")),
    "Cordon": lambda given: Cordon(given.key(), given.value("cordoned", bool)),
    "Taint": _taint,
}
_ERRORS: Mapping[str, tuple[type[ChronosetError], tuple[str, ...]]] = {
    kind.__name__: (kind, fields)
    for kind, fields in (
        (AlreadyExists, (MESSAGE, "key")),
        (BadRequest, (MESSAGE,)),
        (ChronosetError, (MESSAGE,)),
        (CommandReused, (MESSAGE,)),
        (Conflict, ("key", "expected", "actual")),
        (Damaged, (MESSAGE, "position")),
        (Forbidden, (MESSAGE,)),
        (Invalid, ("subject", CAUSES)),
        (LostHistory, (MESSAGE, "position")),
        (NotFound, (MESSAGE, "key")),
        (Outdated, ("key", "why")),
        (PatchFailed, (MESSAGE,)),
        (PreconditionFailed, (MESSAGE,)),
        (Thinned, (MESSAGE,)),
        (TooManyRequests, (MESSAGE, CAUSES, "retry_seconds")),
        (Unauthorized, (MESSAGE,)),
        (Unavailable, (MESSAGE,)),
        (Unsupported, (MESSAGE,)),
    )
}
"""What each error is made of, in the order of its arguments."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
