"""`chronoset node`: which nodes the machine of a running `up` plays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import AlreadyExists, NotFound
from schemas.kinds import NODE, VOLUME
from schemas.objects import Object, key_of, name_of
from schemas.selectors import matches_node
from schemas.taints import ready_status_of
from services.cli.completions import complete_node
from services.cli.options import ActorName, CommandId, DataDir, Group, Patience, WriteFormat, WriteOutput
from services.cli.session import Session, open_session
from services.cli.streams import aside
from services.cli.waiting import TimedOut
from services.cli.writes import Manner, write
from services.clusters import read_record
from services.commands.commands import Delete
from services.node_lists import add_name, checked_name, read_names, remove_name
from services.processes import is_alive
from services.settings import shown_path

POLL_SECONDS = 0.1
ONE_MINUTE = "60s"

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Add nodes to the machine of a running cluster, and remove them.

    \b
    Example:
      chronoset node add n4
      chronoset node remove n4
    """,
)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its name, of a-z, 0-9, '-' and '.'.")],
    timeout: Patience = ONE_MINUTE,  # type: ignore[assignment]
    data_dir: DataDir = None,
) -> None:
    """Add a node to this machine while `up` runs; a later `up` without --nodes has it too.

    Returns once the node is registered. One that was removed earlier has its claims' data again.

    \b
    Example:
      chronoset node add n4
    """
    session = _session_here(data_dir)
    node = session.views.get(key_of(NODE.resource, "", checked_name(name)))
    if node is not None and not _is_ours(session, name):
        raise AlreadyExists(f"node {name!r} is in the cluster already, on another machine")
    add_name(session.settings.data_dir, name)

    def look() -> str:
        found = session.views.get(key_of(NODE.resource, "", name))
        return _state_of(found) if found is not None and ready_status_of(found) != "Unknown" else ""

    print(f"node {name} is added: {_until(look, f'node {name!r} to be registered', timeout)}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NODE", autocompletion=complete_node)],
    actor: ActorName = "",
    command_id: CommandId = "",
    timeout: Patience = ONE_MINUTE,  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Take a node of this machine out of the cluster: delete its object, end its pods, end its agent.

    Its pods have their grace period, and workloads replace them elsewhere. That asks no disruption budget: drain the
    node first where one matters. The data of claims stays on the machine; a pod that needs it waits until the node is
    added again.

    \b
    Example:
      chronoset node remove n4
    """
    session = _session_here(data_dir)
    key = key_of(NODE.resource, "", checked_name(name))
    node = session.views.get(key)
    if name not in _names(session) and (node is None or not _is_ours(session, name)):
        shown = ", ".join(_names(session)) or "none"
        raise NotFound(f"node {name!r} is not on this machine, whose nodes are: {shown}")
    remove_name(session.settings.data_dir, name)
    if node is not None:
        write([Delete(key)], Manner(data_dir, actor, command_id, output))

    def look() -> str:
        return "" if session.views.get(key) or session.views.pods_on(name) else "gone"

    _until(look, f"the pods of node {name!r} to end", timeout)
    aside(f"node {name} has left, and its pods have ended")
    if kept := _volumes_of(session, node):
        place = shown_path(_directory_of(session, name))
        aside(f"the data of {', '.join(kept)} stays in {place}, for when the node is added again")


def _session_here(data_dir: DataDir) -> Session:
    """Return a session with the cluster whose `up` runs on the data directory. Raises NotFound where none does."""
    session = open_session(data_dir)
    place = session.settings.data_dir
    record = read_record(place)
    if record is None or not is_alive(record.supervisor):
        raise NotFound(
            f"no `up` runs in {shown_path(place)}: nodes are added and removed on their own machine"
        )
    session.catch_up(session.log.last())
    return session


def _names(session: Session) -> tuple[str, ...]:
    return read_names(session.settings.data_dir) or ()


def _directory_of(session: Session, node: str) -> Path:
    return session.settings.data_dir / "nodes" / node


def _is_ours(session: Session, node: str) -> bool:
    """True if the node is, or was, of this machine."""
    return node in _names(session) or _directory_of(session, node).exists()


def _volumes_of(session: Session, node: Object | None) -> list[str]:
    """Return the volumes whose data is on the node."""
    if node is None:
        return []
    affinities = (
        (name_of(each), (each["spec"].get("nodeAffinity") or {}).get("required"))
        for each in session.views.list(VOLUME.resource)
    )
    return [name for name, required in affinities if required and matches_node(required, node)]


def _state_of(node: Object) -> str:
    """Return `Ready`, or `NotReady` and why."""
    for condition in (node.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] != "True":
            return f"NotReady, {condition.get('message') or condition.get('reason', '')}"
    return "Ready"


def _until(look: Callable[[], str], what: str, timeout: float) -> str:
    """Look until there is something to tell, and return it. Raises TimedOut."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {timeout:g} s for {what}")
        time.sleep(POLL_SECONDS)
    return seen
