"""`chronoset up`: a whole cluster in the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.counts import counted
from schemas.errors import BadRequest, Unavailable
from services.cli.options import DataDir, count_from
from services.cli.streams import can_be_drawn_on
from services.clusters import ClusterRecord
from services.programs import Program
from services.settings import Settings

if TYPE_CHECKING:
    from services.cli.session import Session
    from services.commands.commands import Command

NODES = 3
VIEW = "view"
"""The program that owns the terminal while it runs."""
APPLY_PATIENCE = 30.0
"""Seconds that `-f` waits for the projections of a cluster that begins."""
NODES_PATIENCE = 10.0
"""Seconds that it waits besides for all nodes to take pods, so that the first of them does not get all."""


def up(
    nodes: Annotated[
        int | None,
        typer.Option(
            parser=count_from(0),
            metavar="N",
            help="How many nodes this machine plays: n1, n2, ... (default: those of last time, or 3).",
        ),
    ] = None,
    manifests: Annotated[
        list[Path] | None, typer.Option("-f", "--filename", metavar="FILE", help="Apply once it runs.")
    ] = None,
    durability: Annotated[
        str, typer.Option(metavar="WHEN", help="When the log is on disk: always (default), or everysec.")
    ] = "",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on with a log that has lost its last events.")
    ] = False,
    network_agent: Annotated[
        bool,
        typer.Option(
            "--network-agent", help="Nodes are NotReady until a network agent's pod has set them up."
        ),
    ] = False,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What runs containers: process or docker (default: that of last time, or process).",
        ),
    ] = "",
    api_port: Annotated[
        str, typer.Option("--api-port", metavar="PORT", help="What the HTTP API listens on (default 6443).")
    ] = "",
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics", metavar="PORT", help="Serve the metrics of all programs for Prometheus there."
        ),
    ] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="On a terminal too: lines instead of a live view.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run a cluster in the foreground: its log, its queue, the control plane and the nodes. Ctrl-C stops it.

    Started again on the same data directory it carries on from the log. On a terminal it shows a live view of the
    workloads, their pods and the last events.

    \b
    Example:
      chronoset up --nodes 3 -f examples/web.yaml
      chronoset up --runtime docker -f examples/web.yaml
      chronoset up --network-agent -f examples/net-agent.yaml -f examples/fluentd.yaml
    """
    from services.logs import log_to_file
    from services.node_lists import write_names
    from services.runtimes import remember_runtime, with_runtime
    from services.settings import (
        checked_durability,
        checked_port,
        checked_runtime,
        settings_from,
        shown_path,
    )
    from services.shutdowns import finish
    from services.supervisor import Supervisor
    from services.wiring import METRICS, PROGRAMS, prepare

    settings = settings_from(os.environ, data_dir)
    names = names_to_play(nodes, settings.data_dir)
    settings = replace(settings, node_names=names, network_agent=network_agent or settings.network_agent)
    if durability:
        settings = replace(settings, durability=checked_durability(durability, "--durability"))
    if api_port:
        settings = replace(settings, api_port=checked_port(api_port, "--api-port"))
    if metrics:
        settings = replace(settings, metrics_port=checked_port(metrics, "--metrics"))
    if runtime:
        settings = replace(settings, runtime=checked_runtime(runtime, "--runtime"))
    settings = with_runtime(settings)
    announcer = Announcer(shown_path(settings.data_dir), len(names))
    viewing = [] if plain or not (sys.stderr.isatty() and can_be_drawn_on(sys.stdout)) else [_view()]
    measuring = [METRICS] if settings.metrics_port else []
    programs = [*PROGRAMS, *measuring, *_applying(manifests or []), *viewing]

    def begin(joined: Settings) -> None:
        if viewing:
            log_to_file(
                joined.data_dir.absolute() / "logs" / "supervisor.log", "supervisor", takes_over=False
            )
        write_names(joined.data_dir, names)
        remember_runtime(joined)
        prepare(joined, accepts_loss=accept_loss)

    supervisor = Supervisor(settings, programs, begin, finish, announcer.changed, announcer.say)
    raise typer.Exit(supervisor.run())


def names_to_play(nodes: int | None, data_dir: Path) -> tuple[str, ...]:
    """Return the names of the nodes to play: so many, or those of last time. Raises BadRequest."""
    from services.node_lists import MOST_NODES, read_names

    if nodes is None:
        known = read_names(data_dir)
        if known is not None:
            return known
        nodes = NODES
    if not 0 <= nodes <= MOST_NODES:
        raise BadRequest(f"--nodes: {nodes} is out of range; write a number from 0 to {MOST_NODES}")
    return tuple(f"n{number}" for number in range(1, nodes + 1))


@dataclass(slots=True)
class Announcer:
    """Tells the terminal what becomes of the cluster: a line for each change of a server or program.

    While the live view runs, it is that which tells.
    """

    place: str
    nodes: int
    _known: dict[str, str] = field(default_factory=dict)
    _is_up: bool = False

    def say(self, sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    def changed(self, record: ClusterRecord) -> None:
        """Say which members left or came back, and once that all are there."""
        if any(member.name == VIEW and member.state == "running" for member in record.members):
            return
        for member in record.members:
            before = self._known.get(member.name)
            self._known[member.name] = member.state
            if self._is_up and before not in (None, member.state):
                self.say(f"{member.name}: {member.state}{f' ({member.note})' if member.note else ''}")
        running = [member for member in record.members if member.state in ("running", "finished")]
        if record.ready and not self._is_up and record.members and len(running) == len(record.members):
            self._is_up = True
            self.say(
                f"cluster {record.cluster} is up in {self.place}: {counted(self.nodes, 'node')}, "
                f"{len(record.members)} processes. Ctrl-C stops it."
            )
            join = "" if self.place == "./.chronoset" else f" --data-dir {self.place}"
            self.say(f"from another terminal: chronoset{join} get all; chronoset{join} doctor")


def _view() -> Program:
    """Return the program that shows the live view on our terminal, which it is given a descriptor of."""
    terminal = os.dup(sys.stdout.fileno())

    def run(settings: Settings) -> None:
        from services.cli.live import run_view

        run_view(terminal, settings)

    return Program(VIEW, run, once=True, grace=2.0)


def _applying(manifests: list[Path]) -> list[Program]:
    """Return the program that applies the manifests once the cluster runs; reads and checks them now."""
    if not manifests:
        return []
    from services.commands.commands import Apply
    from services.commands.manifests import checked_manifest, read_manifests

    documents = [obj for path in manifests for obj in read_manifests(_content(path), str(path))]
    commands = [Apply(checked_manifest(obj, "", "Strict"), "Strict") for obj in documents]
    return [Program("manifests", partial(_apply, commands), once=True)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"-f: {path} cannot be read: {error.strerror}") from error


def _apply(commands: Sequence[Command], settings: Settings) -> None:
    from services.cli.session import Session, new_command_id
    from services.processes import wait_until

    session = Session(replace(settings, direct=True))
    if not session.views.wait_for(session.log.last(), APPLY_PATIENCE):
        raise Unavailable("the projections are not there yet")
    wait_until(partial(_take_pods, session, settings), NODES_PATIENCE)
    for command in commands:
        session.executor.execute(command, session.actor(""), new_command_id())


def _take_pods(session: Session, settings: Settings) -> bool:
    """Say whether pods may come to every node of this machine; nodes that wait for a network agent are only there."""
    from schemas.kinds import NODE
    from schemas.objects import name_of
    from schemas.taints import NOT_READY, ready_status_of

    nodes = {name_of(node): node for node in session.views.list(NODE.resource)}
    if settings.network_agent:
        return nodes.keys() >= set(settings.node_names)
    ready = {
        name
        for name, node in nodes.items()
        if ready_status_of(node) == "True"
        and all(taint["key"] != NOT_READY for taint in node["spec"].get("taints") or ())
    }
    return ready >= set(settings.node_names)
