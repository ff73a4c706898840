"""`chronoset rollout`: undo, restart, status, history."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from schemas.errors import BadRequest
from schemas.kinds import DAEMON_SET
from schemas.objects import Object, labels_of, name_of
from schemas.revisions import HASH_LABEL, template_of
from schemas.times import age, parse_rfc3339
from services.cli.completions import complete_target
from services.cli.options import (
    ActorName,
    CommandId,
    DataDir,
    Group,
    Namespace,
    Patience,
    ReadFormat,
    ReadOutput,
    Timeout,
    Wait,
    WriteFormat,
    WriteOutput,
    count_from,
)
from services.cli.printing import object_text, position_line, show, yaml_text
from services.cli.references import checked_namespace, parse_one
from services.cli.session import now_ms, open_session
from services.cli.streams import aside
from services.cli.tables import table
from services.cli.waiting import wait_for_rollout
from services.cli.writes import TEN_MINUTES, Manner, write
from services.commands.commands import Restart, Undo
from services.commands.rollouts import CHANGE_CAUSE, existing_workload, history, progress_of

Target = Annotated[
    list[str], typer.Argument(metavar="KIND NAME", help="Or KIND/NAME.", autocompletion=complete_target)
]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Undo, restart, status and history of rollouts.

    \b
    Example:
      chronoset rollout history sts/db
      chronoset rollout undo sts/db --to-revision 1 --wait
    """,
)


@app.command()
def undo(
    target: Target,
    to_revision: Annotated[
        int | None,
        typer.Option(
            parser=count_from(1), metavar="N", help="The revision's number (default: the latest earlier one)."
        ),
    ] = None,
    namespace: Namespace = "default",
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = TEN_MINUTES,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Return to an earlier revision, which is renumbered; also to one that the history limit has truncated.

    \b
    Example:
      chronoset rollout undo sts db
      chronoset rollout undo sts/db --to-revision 1 --wait
    """
    key = parse_one(target).key(checked_namespace(namespace))
    write([Undo(key, to_revision)], Manner(data_dir, actor, command_id, output, wait, timeout))


@app.command()
def restart(
    target: Target,
    namespace: Namespace = "default",
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = TEN_MINUTES,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Replace every pod, in the order of a rollout.

    \b
    Example:
      chronoset rollout restart sts/db --wait
    """
    key = parse_one(target).key(checked_namespace(namespace))
    write([Restart(key)], Manner(data_dir, actor, command_id, output, wait, timeout))


@app.command()
def status(
    target: Target,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", "-w", help="Until it is complete.")] = True,
    namespace: Namespace = "default",
    timeout: Patience = TEN_MINUTES,  # type: ignore[assignment]
    data_dir: DataDir = None,
) -> None:
    """Say how far a rollout is, and wait until it is complete (exit code 1 where it is not in time).

    \b
    Example:
      chronoset rollout status sts/db
      chronoset rollout status sts/db --no-watch
    """
    key = parse_one(target).key(checked_namespace(namespace))
    session = open_session(data_dir)
    workload = existing_workload(session.sources, key)
    print(wait_for_rollout(session, key, timeout) if watch else progress_of(workload).message)


@app.command(name="history")
def show_history(
    target: Target,
    revision: Annotated[
        int | None, typer.Option(parser=count_from(1), metavar="N", help="Show this one's pod template.")
    ] = None,
    namespace: Namespace = "default",
    output: ReadFormat = ReadOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """List the ControllerRevisions of a StatefulSet or DaemonSet, oldest first.

    \b
    Example:
      chronoset rollout history sts/db
      chronoset rollout history sts/db --revision 2
    """
    key = parse_one(target).key(checked_namespace(namespace))
    session = open_session(data_dir)
    position = session.views.position()
    workload = existing_workload(session.sources, key)
    revisions = history(session.sources, workload)
    if revision is not None:
        revisions = [_numbered(revisions, revision)]
    show(_history_text(workload, revisions, output, revision is not None))
    aside(position_line(position))


def history_table(workload: Object, revisions: list[Object], now: int) -> str:
    """Return the table of a workload's revisions: number, name, images, which ones are in use, and why."""
    rows = [
        (
            str(each["revision"]),
            name_of(each),
            ",".join(container.get("image", "") for container in template_of(each)["spec"]["containers"]),
            _role(workload, each, is_newest=each is revisions[-1]),
            age(parse_rfc3339(each["metadata"]["creationTimestamp"]), now),
            (each["metadata"].get("annotations") or {}).get(CHANGE_CAUSE, "<none>"),
        )
        for each in revisions
    ]
    return table(("REVISION", "NAME", "IMAGES", "ROLE", "AGE", "CHANGE-CAUSE"), rows)


def _history_text(workload: Object, revisions: list[Object], output: ReadOutput, detailed: bool) -> str:
    match output:
        case ReadOutput.JSON | ReadOutput.YAML:
            value: Any = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": revisions}
            return object_text(revisions[0] if detailed else value, output)
        case ReadOutput.NAME:
            return "\n".join(f"controllerrevision.apps/{name_of(each)}" for each in revisions)
    if detailed:
        return yaml_text(template_of(revisions[0]))
    return history_table(workload, revisions, now_ms())


def _numbered(revisions: list[Object], number: int) -> Object:
    for each in revisions:
        if each["revision"] == number:
            return each
    known = ", ".join(str(each["revision"]) for each in revisions) or "none"
    raise BadRequest(f"--revision: {number} is not in the history; there are {known}")


def _role(workload: Object, revision: Object, is_newest: bool) -> str:
    """Return `current`, `update` or both; a DaemonSet's status names none: its newest is the update."""
    if workload["kind"] == DAEMON_SET.kind:
        return "update" if is_newest else ""
    found = workload.get("status") or {}
    names = {name_of(revision)} if HASH_LABEL in labels_of(revision) else set()
    roles = ("current", "currentRevision"), ("update", "updateRevision")
    return ",".join(role for role, field in roles if found.get(field) in names)
