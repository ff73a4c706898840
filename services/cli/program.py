"""The program `chronoset`: which command is where, and how every failure ends.

A command's module is imported when the command is called, and `--help` lists them from the table below, because
importing everything takes several times as long as most commands do.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from schemas.errors import ChronosetError

PROGRAM = "chronoset"
COMPLETE = "_CHRONOSET_COMPLETE"
"""Set by the shell's script: what is typed is to be completed, not carried out."""
INTERRUPTED = 130
PIPE_CLOSED = 141
"""Exit codes as a shell gives them to programs that SIGINT and SIGPIPE end."""
_MISUSE: Any = typer.BadParameter.__mro__[2]
"""ClickException: what typer raises for bad arguments, whichever click it carries."""


class Place(NamedTuple):
    """Where a command is: a function, or a typer app with commands of its own."""

    module: str
    attribute: str
    summary: str


COMMANDS: dict[str, Place] = {
    "apply": Place("writes", "apply", "create or change objects from manifests"),
    "patch": Place("writes", "patch", "change an object by a patch"),
    "scale": Place("writes", "scale", "set the number of replicas"),
    "delete": Place("writes", "delete", "delete objects"),
    "rollout": Place("rollouts", "app", "undo, restart, status and history of rollouts"),
    "cordon": Place("nodes", "cordon", "let no new pods come to nodes"),
    "uncordon": Place("nodes", "uncordon", "let new pods come to nodes again"),
    "drain": Place("drains", "drain", "empty nodes for maintenance, as budgets allow"),
    "taint": Place("nodes", "taint", "keep pods away from a node unless they tolerate it"),
    "node": Place("machine_nodes", "app", "add nodes to the machine of a running cluster, and remove them"),
    "agent": Place("agents", "app", "join a cluster as a node, and make the tokens for that"),
    "pause": Place("switches", "pause", "pause controllers"),
    "read-only": Place("readonly", "read_only", "refuse every write, or let them in again"),
    "resume": Place("switches", "resume", "let paused controllers go on"),
    "get": Place("reads", "get", "show objects as they are now"),
    "describe": Place(
        "describing", "describe", "show all about an object: status, pods, revisions, who changed it"
    ),
    "watch": Place("watches", "watch", "show the live view of a cluster"),
    "logs": Place("logs", "logs", "show what a pod's containers printed"),
    "exec": Place("execs", "exec_", "run a command in a pod's container"),
    "replay": Place("replays", "app", "show the cluster as it was, what changed, who did it and why"),
    "log": Place("histories", "log", "show the log's raw entries"),
    "archive": Place("archives", "app", "show what of the log is sealed, seal it, check that it can be read"),
    "retention": Place("retention", "app", "say how long all events of a kind are kept"),
    "backup": Place("backups", "backup", "copy a cluster's whole history elsewhere"),
    "restore": Place("backups", "restore", "begin a cluster again from a backup, as of any moment"),
    "verify": Place("verifying", "verify", "check that the log, and all made of it, is what was written"),
    "projections": Place("projections", "app", "show how far the projections are, or build them anew"),
    "up": Place("up", "up", "run a cluster in the foreground"),
    "init": Place("running", "init", "create a cluster's log where there never was one"),
    "run": Place("running", "run", "run one program, for a supervisor of your own"),
    "down": Place("clusters", "down", "stop the cluster of a data directory"),
    "env": Place("clusters", "env", "print the variables by which other programs join a cluster"),
    "kubeconfig": Place(
        "kubeconfigs", "kubeconfig", "print the configuration by which kubectl reaches a cluster"
    ),
    "doctor": Place("clusters", "doctor", "say what is wrong with this machine or a cluster"),
    "completion": Place("completion", "completion", "print the script by which a shell completes on Tab"),
    "demo": Place("demo", "demo", "play the story of a StatefulSet and a DaemonSet on real processes"),
    "loadtest": Place("loadtest", "loadtest", "measure a control plane on simulated nodes"),
    "bench": Place("bench", "bench", "measure this machine, and Chronoset against it"),
}


class _Listed(NamedTuple):
    """What a list of commands needs to know of one."""

    summary: str
    hidden: bool = False

    def get_short_help_str(self, _limit: int = 0) -> str:
        return self.summary


class _Commands(TyperGroup):
    _is_listing = False

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        names: Any = dict.fromkeys(COMMANDS)
        self.commands = names  # of which the nearest to a mistyped one is told

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: Any, name: str) -> Any:
        if self._is_listing and name in COMMANDS:
            return _Listed(COMMANDS[name].summary)
        return load(name) if name in COMMANDS else None

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self._is_listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._is_listing = False

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in COMMANDS.items()])


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    from schemas.envelopes import SCHEMA_VERSION

    try:
        number = version(PROGRAM)
    except PackageNotFoundError:
        number = "of these sources, not installed"
    print(f"{PROGRAM} {number}; log format {SCHEMA_VERSION}")
    raise typer.Exit


@app.callback()
def chronoset(
    data_dir: str = typer.Option("", metavar="DIR", help="The cluster's directory (default .chronoset)."),
    no_color: bool = typer.Option(False, "--no-color", help="No colours, as NO_COLOR=1."),
    direct: bool = typer.Option(False, "--direct", help="Write to the log, though an API answers for it."),
    version: bool = typer.Option(  # noqa: ARG001
        False, "--version", is_eager=True, callback=_show_version, help="Print the version and exit."
    ),
) -> None:
    """StatefulSets and DaemonSets without Kubernetes, on an event log that remembers everything.

    \b
    Example:
      chronoset apply -f web.yaml --wait
      chronoset get sts,pods
      chronoset replay --at "10 minutes ago" sts/web
    """
    if data_dir:
        os.environ["CHRONOSET_DATA_DIR"] = data_dir
    if no_color:
        os.environ["NO_COLOR"] = "1"
    if direct:
        os.environ["CHRONOSET_DIRECT"] = "1"


def load(name: str) -> Any:
    """Import a command and return it as typer's kind of command.

    Without the cyclic collector meanwhile: it finds nothing in what is being imported, and takes a tenth of the time.
    """
    place = COMMANDS[name]
    gc.disable()
    found = getattr(import_module(f"services.cli.{place.module}"), place.attribute)
    gc.enable()
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
        found.command(name, context_settings=app.info.context_settings)(function)
    return get_command(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, an error's own (schemas.errors), 2 for bad usage."""
    if os.environ.get(COMPLETE):
        return _complete()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without an arrow shows "?" for it
    try:
        result = get_command(app).main(
            args=None if arguments is None else list(arguments), prog_name=PROGRAM, standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except ChronosetError as error:
        return _failed(str(error), error.exit_code)
    except _MISUSE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return 0
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        return _failed(f"{message}; see {_help_of(error)}", 2)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the latter is how typer ends on a closed pipe, and nothing else
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _complete() -> int:
    """Print what may come next, for the shell that asks. Silent whatever is wrong: somebody is typing."""
    from typer._completion_classes import completion_init

    gc.disable()
    completion_init()
    with suppress(Exception, SystemExit), open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        get_command(app).main(args=[], prog_name=PROGRAM, complete_var=COMPLETE, standalone_mode=False)
    gc.enable()
    sys.stdout.flush()
    return 0


def _failed(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


def _help_of(error: Any) -> str:
    """Return the call that shows the help of the command that was misused."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'chronoset'} --help"
