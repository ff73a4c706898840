"""The commands that write: apply, patch, scale, delete."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.envelopes import DELETE, Event
from schemas.errors import BadRequest
from schemas.objects import Key
from schemas.positions import stream_id_of
from services.cli.completions import complete_target
from services.cli.options import (
    ActorName,
    CommandId,
    DataDir,
    Namespace,
    Timeout,
    Wait,
    WriteFormat,
    WriteOutput,
    count_from,
)
from services.cli.references import checked_namespace, parse_named, parse_one
from services.cli.session import Session, new_command_id, open_session
from services.cli.shown_events import APPENDED, appended_rows, event_record
from services.cli.streams import aside, show_json
from services.cli.tables import Growing
from services.commands.commands import Apply, Command, Delete, Patch, Scale, key_of_command
from services.commands.execution import Outcome

TEN_MINUTES = "10m"


class PatchType(StrEnum):
    """The patches that are understood."""

    JSON = "json"
    MERGE = "merge"
    STRATEGIC = "strategic"


class Cascade(StrEnum):
    """What becomes of an object's dependents."""

    BACKGROUND = "background"
    FOREGROUND = "foreground"
    ORPHAN = "orphan"


class FieldValidation(StrEnum):
    """What becomes of fields that are unknown."""

    STRICT = "Strict"
    WARN = "Warn"
    IGNORE = "Ignore"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a write is done and told, whatever it writes."""

    data_dir: Path | None
    actor: str
    command_id: str
    output: WriteOutput
    wait: bool = False
    timeout: float = 600.0


def apply(
    files: Annotated[
        list[str], typer.Option("--filename", "-f", metavar="FILE", help="A file, or - for stdin.")
    ],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="For objects that name none.")
    ] = "",
    validate: Annotated[
        FieldValidation, typer.Option(help="What becomes of unknown fields.")
    ] = FieldValidation.STRICT,
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = TEN_MINUTES,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Create or change objects so that they are what manifests say.

    YAML or JSON, several documents. Nothing is written unless every document is valid; then each is one commit, in
    order, and prints the events it appended. With --command-id ID the nth document is the command ID/n.

    \b
    Example:
      chronoset apply -f web.yaml --wait
      cat web.yaml | chronoset apply -f - --actor alice --command-id deploy-42
    """
    from services.commands.manifests import checked_manifest, read_manifests

    documents = [obj for file in files for obj in read_manifests(_content(file), file)]
    default = checked_namespace(namespace) if namespace else ""
    manifests = [checked_manifest(obj, default, validate.value) for obj in documents]
    commands = [Apply(manifest, validate.value) for manifest in manifests]
    write(commands, Manner(data_dir, actor, command_id, output, wait, timeout))


def patch(
    target: Annotated[
        list[str], typer.Argument(metavar="KIND NAME", help="Or KIND/NAME.", autocompletion=complete_target)
    ],
    patch_text: Annotated[str, typer.Option("--patch", "-p", metavar="PATCH", help="JSON (or YAML).")],
    type_: Annotated[
        PatchType, typer.Option("--type", help="RFC 6902, RFC 7386, or merging lists by their keys.")
    ] = PatchType.STRATEGIC,
    namespace: Namespace = "default",
    validate: Annotated[
        FieldValidation, typer.Option(help="What becomes of unknown fields.")
    ] = FieldValidation.STRICT,
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = TEN_MINUTES,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Change an object by a patch.

    As kubectl does, a plain patch merges lists such as containers by name; --type merge replaces them.

    \b
    Example:
      chronoset patch sts db --type json -p \\
        '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"mysql:5.7.23"}]'
      chronoset patch sts/db -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}'
    """
    from schemas.documents import parse_value

    key = parse_one(target).key(checked_namespace(namespace))
    value = parse_value(_encoded(patch_text, "--patch"), "--patch")
    command = Patch(key, type_.value, value, validate.value)
    write([command], Manner(data_dir, actor, command_id, output, wait, timeout))


def scale(
    target: Annotated[
        list[str], typer.Argument(metavar="KIND NAME", help="Or KIND/NAME.", autocompletion=complete_target)
    ],
    replicas: Annotated[
        int, typer.Option(metavar="N", parser=count_from(0), help="How many pods there are to be.")
    ],
    namespace: Namespace = "default",
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = TEN_MINUTES,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Set the number of replicas.

    \b
    Example:
      chronoset scale sts db --replicas 5 --wait
    """
    key = parse_one(target).key(checked_namespace(namespace))
    write([Scale(key, replicas)], Manner(data_dir, actor, command_id, output, wait, timeout))


def delete(
    target: Annotated[
        list[str],
        typer.Argument(metavar="KIND NAME...", help="Or KIND/NAME...", autocompletion=complete_target),
    ],
    cascade: Annotated[Cascade, typer.Option(help="What becomes of the dependents.")] = Cascade.BACKGROUND,
    grace_period: Annotated[
        int | None,
        typer.Option(parser=count_from(0), metavar="SECONDS", help="For a pod to end by itself; 0: at once."),
    ] = None,
    namespace: Namespace = "default",
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = TEN_MINUTES,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Delete objects. Their dependents go after them (background), before them (foreground) or stay (orphan).

    \b
    Example:
      chronoset delete pod db-0
      chronoset delete sts/db --cascade orphan
    """
    checked = checked_namespace(namespace)
    keys = [reference.key(checked) for reference in parse_named(target)]
    commands = [Delete(key, cascade.value, grace_period) for key in keys]
    write(commands, Manner(data_dir, actor, command_id, output, wait, timeout))


def write(commands: Sequence[Command], manner: Manner) -> None:
    """Carry commands out one after the other, tell what each appended, and then wait if that is wanted.

    Several commands under one id are ID/1, ID/2 and so on; all are checked before the first is carried out.
    """
    session = open_session(manner.data_dir)
    actor = session.actor(manner.actor)
    base = checked_command_id(manner.command_id) or new_command_id()
    numbered = [(f"{base}/{number}", command) for number, command in enumerate(commands, 1)]
    if len(numbered) == 1:
        numbered = [(base, commands[0])]
    else:
        for command_id, command in numbered:
            session.executor.check(command, actor, command_id)
    done: list[tuple[Key, Outcome]] = []
    shown = Growing(APPENDED)
    for command_id, command in numbered:
        outcome = session.executor.execute(command, actor, command_id)
        for warning in outcome.warnings:
            aside(f"warning: {warning}")
        if manner.output is WriteOutput.JSON:
            show_json(_record(key_of_command(command), outcome, command_id))
        else:
            _tell(key_of_command(command), outcome, command_id, shown)
        done.append((key_of_command(command), outcome))
    if manner.wait:
        for key, outcome in done:
            _wait(session, key, outcome, manner.timeout)


def checked_command_id(text: str) -> str:
    """Return the command id. Raises BadRequest where it is too long or holds other than printable characters."""
    if len(text) > 200 or not text.isprintable() or " " in text:
        raise BadRequest(f"--command-id: {text[:40]!r} is no id; write at most 200 characters without spaces")
    return text


def _tell(key: Key, outcome: Outcome, command_id: str, shown: Growing) -> None:
    events = outcome.committed.events
    if outcome.committed.appended.repeated:
        aside(f"command {command_id} was carried out before; this is its result")
    print(shown.lines(appended_rows(events)) if events else f"{key} unchanged", flush=True)


def _record(key: Key, outcome: Outcome, command_id: str) -> dict[str, Any]:
    appended = outcome.committed.appended
    return {
        "command": command_id,
        "key": key,
        "position": stream_id_of(appended.last),
        "repeated": appended.repeated,
        "unchanged": not outcome.committed.events,
        "warnings": list(outcome.warnings),
        "events": [event_record(event) for event in outcome.committed.events],
    }


def _wait(session: Session, key: Key, outcome: Outcome, timeout: float) -> None:
    from services.cli.waiting import has_rollout, wait_for_deletion, wait_for_rollout

    session.catch_up(outcome.committed.appended.last)
    deleted = _deleted_uid(key, outcome.committed.events)
    if deleted:
        aside(f"{key}: {wait_for_deletion(session, key, deleted, timeout)}")
    elif has_rollout(key):
        aside(f"{key}: {wait_for_rollout(session, key, timeout)}")


def _deleted_uid(key: Key, events: Sequence[Event]) -> str:
    """Return the uid of the object under `key` where these events delete it, or ask for that."""
    for event in events:
        if event.key == key and (event.op == DELETE or event.type.endswith("DeletionRequested")):
            return event.uid
    return ""


def _content(file: str) -> bytes:
    """Return the bytes of a manifest, never more than are accepted and one. Raises BadRequest."""
    from schemas.documents import MAX_BYTES

    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(file, "rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"--filename: {file!r} cannot be read: {error.strerror}") from None


def _encoded(text: str, option: str) -> bytes:
    """Return an argument's bytes. Raises BadRequest where it was no UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{option}: is no UTF-8; write it as UTF-8") from None
