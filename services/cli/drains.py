"""`chronoset drain`: a node is cordoned, and its pods are evicted as their budgets let them go, until all are gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from schemas.envelopes import Actor
from schemas.errors import ChronosetError, Conflict, NotFound, PreconditionFailed, TooManyRequests
from schemas.objects import Key, Object, key_of_object, name_of, namespace_of, uid_of
from schemas.selectors import parse_selector
from services.cli.completions import complete_node
from services.cli.moments import parse_duration
from services.cli.options import ActorName, DataDir, count_from
from services.cli.references import node_key
from services.cli.session import Session, new_command_id, open_session
from services.cli.streams import aside
from services.cli.waiting import TimedOut
from services.commands.commands import Cordon, Delete, Evict
from services.commands.drains import Permissions, sort_out
from services.commands.sources import existing

RETRY_SECONDS = 5.0
POLL_SECONDS = 0.2


class NotDrained(ChronosetError):
    """Pods are left on a node that was to be drained."""

    reason = "Conflict"


@dataclass(frozen=True, slots=True)
class Manner:
    """How pods are asked to go: their time to end (None: their own), by deletion past their budgets, only as if."""

    actor: Actor
    given: Permissions
    grace_seconds: int | None
    by_deletion: bool
    dry: bool
    deadline: float

    @property
    def stem(self) -> str:
        """Of the word for what happens to a pod, before -ing and -ed."""
        return "delet" if self.by_deletion else "evict"


@dataclass(slots=True)
class Leaving:
    """A pod on its way: when it is to be asked next, and whether it has been."""

    pod: Object
    due: float = 0.0
    asked: bool = False

    @property
    def key(self) -> Key:
        return key_of_object(self.pod)

    @property
    def full_name(self) -> str:
        return f"{namespace_of(self.pod)}/{name_of(self.pod)}"


def drain(
    names: Annotated[
        list[str], typer.Argument(metavar="NODE...", help="Their names.", autocompletion=complete_node)
    ],
    ignore_daemonsets: Annotated[
        bool, typer.Option("--ignore-daemonsets", help="Leave the pods of DaemonSets where they are.")
    ] = False,
    delete_emptydir_data: Annotated[
        bool, typer.Option("--delete-emptydir-data", help="Also pods whose emptyDir volumes are lost.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also pods without a controller, which nobody makes anew.")
    ] = False,
    grace_period: Annotated[
        int,
        typer.Option(parser=count_from(-1), metavar="SECONDS", help="For a pod to end; -1: what it says."),
    ] = -1,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to try, as 90s, 10m or 1h; 0: until it is done.")
    ] = "0",
    pod_selector: Annotated[
        str, typer.Option(metavar="SELECTOR", help="Only pods with these labels, as app=web,tier!=db.")
    ] = "",
    disable_eviction: Annotated[
        bool, typer.Option("--disable-eviction", help="Delete the pods, whatever their budgets say.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    actor: ActorName = "",
    data_dir: DataDir = None,
) -> None:
    """Empty nodes for maintenance: let no new pods come, and evict those that are there.

    A pod whose PodDisruptionBudget does not let it go is asked again every 5 seconds. Pods of DaemonSets stay, with
    --ignore-daemonsets; without it, or where pods would lose data or be lost, nothing is evicted. The nodes stay
    cordoned: chronoset uncordon ends that.

    \b
    Example:
      chronoset drain n2 --ignore-daemonsets --timeout 10m
      chronoset drain n2 --dry-run
    """
    given = Permissions(ignore_daemonsets, delete_emptydir_data, force, parse_selector(pod_selector))
    seconds = parse_duration(timeout)
    session = open_session(data_dir)
    manner = Manner(
        session.actor(actor),
        given,
        grace_period if grace_period >= 0 else None,
        disable_eviction,
        dry_run,
        time.monotonic() + seconds if seconds else float("inf"),
    )
    drain_all(session, names, manner)


def drain_all(session: Session, names: Sequence[str], manner: Manner) -> None:
    """Cordon all nodes, then empty one after the other; one that cannot be does not keep the next from it.

    Raises NotFound where one is not there, before anything is written; NotDrained where pods are left.
    """
    session.catch_up(session.log.last())
    nodes = [existing(session.sources, node_key(name)) for name in dict.fromkeys(names)]
    for node in nodes:
        _cordon(session, node, manner)
    failures = []
    for node in nodes:
        try:
            _empty(session, name_of(node), manner)
        except (NotDrained, TimedOut) as error:
            failures.append(f"unable to drain node {name_of(node)}: {error}")
    if failures:
        raise NotDrained("; ".join(failures))


def _cordon(session: Session, node: Object, manner: Manner) -> None:
    name = name_of(node)
    if manner.dry:
        is_new = not node["spec"].get("unschedulable")
    else:
        command = Cordon(node_key(name), True)
        is_new = bool(session.executor.execute(command, manner.actor, new_command_id()).committed.events)
    _say(f"node/{name} {'cordoned' if is_new else 'already cordoned'}", manner)


def _empty(session: Session, node: str, manner: Manner) -> None:
    """Empty one node. Raises NotDrained, TimedOut."""
    session.catch_up(session.log.last())
    found = sort_out(session.views.pods_on(node), manner.given, session.sources)
    for warning in found.warnings:
        aside(f"warning: {warning}")
    if found.refusals:
        raise NotDrained("; ".join(found.refusals))
    if manner.dry:
        for pod in found.going:
            _say(f"{manner.stem}ing pod {namespace_of(pod)}/{name_of(pod)}", manner)
    elif failures := _see_off(session, [Leaving(pod) for pod in found.going], manner):
        raise NotDrained("; ".join(failures))
    _say(f"node/{node} drained", manner)


def _see_off(session: Session, leaving: list[Leaving], manner: Manner) -> list[str]:
    """Ask pods to go, again where their budget refuses, until all are gone; return why some do not. Raises TimedOut."""
    failures: list[str] = []
    while leaving:
        staying: list[Leaving] = []
        for each in leaving:
            try:
                if not _is_gone(session, each, manner):
                    staying.append(each)
            except ChronosetError as error:
                failures.append(f'error when {manner.stem}ing pod "{each.full_name}": {error}')
        leaving = staying
        if leaving and time.monotonic() > manner.deadline:
            left = ", ".join(each.full_name for each in leaving)
            raise TimedOut("; ".join([f"global timeout reached, {left} left", *failures]))
        if leaving:
            time.sleep(POLL_SECONDS)
    return failures


def _is_gone(session: Session, leaving: Leaving, manner: Manner) -> bool:
    """Do what is next for a pod; True once it is gone."""
    if not leaving.asked and time.monotonic() >= leaving.due:
        _ask(session, leaving, manner)
    found = session.views.get(leaving.key)
    if found is not None and uid_of(found) == uid_of(leaving.pod):
        return False
    _say(f"pod/{name_of(leaving.pod)} {manner.stem}ed", manner)
    return True


def _ask(session: Session, leaving: Leaving, manner: Manner) -> None:
    """Ask a pod to go. One that has gone by itself meanwhile is as good as asked."""
    print(f"{manner.stem}ing pod {leaving.full_name}", flush=True)
    command = (
        Delete(leaving.key, grace_seconds=manner.grace_seconds)
        if manner.by_deletion
        else Evict(leaving.key, manner.grace_seconds, uid_of(leaving.pod))
    )
    try:
        done = session.executor.execute(command, manner.actor, new_command_id())
        session.catch_up(done.committed.appended.last)
        leaving.asked = True
    except (NotFound, PreconditionFailed):
        leaving.asked = True
        session.catch_up(session.log.last())
    except (TooManyRequests, Conflict) as refusal:
        causes = refusal.causes if isinstance(refusal, TooManyRequests) else ()
        told = " ".join([str(refusal), *map(str, causes)])
        aside(f'error when evicting pod "{leaving.full_name}" (will retry after {RETRY_SECONDS:g}s): {told}')
        leaving.due = time.monotonic() + RETRY_SECONDS


def _say(text: str, manner: Manner) -> None:
    print(f"{text} (dry run)" if manner.dry else text, flush=True)
