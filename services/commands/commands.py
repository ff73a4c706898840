"""What a person or a program can wish for, as values: the same ones from the command line and the HTTP API.

A command is content only. Who wishes, under which id, is the intent's (events.commit.Intent).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from events.commit import digest_of
from schemas.kinds import SECRET
from schemas.objects import Key, Object, key_of_object, split_key
from schemas.patching import Json
from schemas.retention import KEY as RETENTION
from services.controllers.switches import KEY as SWITCHES

STRICT = "Strict"
FIELD_VALIDATIONS = (STRICT, "Warn", "Ignore")
JSON_PATCH = "json"
MERGE_PATCH = "merge"
STRATEGIC_PATCH = "strategic"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)


@dataclass(frozen=True, slots=True)
class Apply:
    """Make an object what a manifest says: create it, or merge three ways with what was applied before."""

    manifest: Object
    field_validation: str = STRICT


@dataclass(frozen=True, slots=True)
class Patch:
    """Change an object by a patch; `type` is `json` (RFC 6902), `merge` (RFC 7386) or `strategic`."""

    key: Key
    type: str
    patch: Json
    field_validation: str = STRICT


@dataclass(frozen=True, slots=True)
class Scale:
    """Set spec.replicas."""

    key: Key
    replicas: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object; `cascade` (`background`, `foreground`, `orphan`) says what becomes of its dependents.

    `grace_seconds` is a pod's time to end by itself; None: what its spec says.
    """

    key: Key
    cascade: str = "background"
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Evict:
    """Delete a pod, if its PodDisruptionBudget lets it go now.

    `uid` and `resource_version` are what the pod must have, where they are given.
    """

    key: Key
    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Undo:
    """Return a workload's template to the revision of that number; None: to the latest one before the present."""

    key: Key
    to_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace every pod of a workload, by a mark in its template."""

    key: Key


@dataclass(frozen=True, slots=True)
class Revert:
    """Make what was wished of an object (its spec, a ConfigMap's data) what it was; `then` is the object as it was."""

    key: Key
    then: Object


@dataclass(frozen=True, slots=True)
class Switch:
    """Pause controllers (they look, and write nothing), or let them go on."""

    controllers: tuple[str, ...]
    paused: bool


@dataclass(frozen=True, slots=True)
class Retain:
    """Keep all events of some kinds (`pods`, `statefulsets.apps`) for a period, as `90d`; an empty one is for ever.

    Among the kinds `snapshots` stands for those of the archive.
    """

    kinds: tuple[str, ...]
    period: str


@dataclass(frozen=True, slots=True)
class Cordon:
    """Let no new pods come to a node, or let them come again."""

    key: Key
    cordoned: bool


@dataclass(frozen=True, slots=True)
class Taint:
    """Add taints to a node, each as (field, value) pairs, and remove those of (key, effect); no effect: of any."""

    key: Key
    added: tuple[tuple[tuple[str, str], ...], ...] = ()
    removed: tuple[tuple[str, str], ...] = ()


Command = Apply | Patch | Scale | Delete | Evict | Undo | Restart | Revert | Switch | Retain | Cordon | Taint


def key_of_command(command: Command) -> Key:
    """Return the key of the object that a command is about."""
    match command:
        case Apply(manifest):
            return key_of_object(manifest)
        case Switch():
            return SWITCHES
        case Retain():
            return RETENTION
    return command.key


def digest(command: Command, of_values: Callable[[bytes], str] = digest_of) -> str:
    """Return the digest of a command as it was given: the same command id with another one is refused.

    It is remembered beside the log. One that carries a Secret's values is made by `of_values` (events.secrets.Keyring),
    since a plain digest of a short value tells it to whoever tries long enough.
    """
    content = orjson.dumps([type(command).__name__, command], option=orjson.OPT_SORT_KEYS)
    return of_values(content) if _carries_values(command) else digest_of(content)


def _carries_values(command: Command) -> bool:
    match command:
        case Apply():
            return bool(command.manifest["kind"] == SECRET.kind)
        case Patch():
            return split_key(command.key)[0] == SECRET.resource
        case _:
            return False
