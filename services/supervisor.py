"""The supervisor: one parent that starts the servers, forks the programs and starts again whatever ends.

Forking after one import of everything shares that memory among all programs, and starts one in milliseconds. The parent
has one thread and takes its signals synchronously, so nothing can happen between two of its steps.

Every child is a process group of its own: no Ctrl-C on the terminal reaches it, the supervisor alone decides the order.
Every child dies with the supervisor, however that ends (programs by SIGKILL, since all they know is in the log; servers
by SIGTERM, so that they close their files). What an agent detaches, the pods, lives on.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis
import structlog

from events.keys import heads_key
from schemas.errors import LostHistory, Unavailable
from schemas.times import Milliseconds
from services.bootstrap import remember_end
from services.clusters import ClusterRecord, Member, read_record, remove_record, write_record
from services.connections import connect
from services.data_dirs import lock_data_dir
from services.processes import ProcessId, Running, end_child, is_alive, process_id_of
from services.programs import Program, failure_in, fork, run_program
from services.servers import (
    ServerBinary,
    ServerPlan,
    default_max_memory,
    find_server,
    has_loaded,
    launch,
    remembered_server,
    stop,
    truncation_of,
    wait_until_loaded,
)
from services.settings import Settings, has_password, with_servers
from services.sockets import make_socket_dir, remove_socket_dir
from services.storage import StorageGuard

FIRST_PAUSE = 0.1
"""Seconds before a child that ended is started again; doubles from one end to the next, up to:"""
LONGEST_PAUSE = 5.0
CALM = 30.0
"""Seconds that a child must have run for the pause to be the first one again."""
INSPECTION = 1.0
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_WATCHED = _ENDING | {signal.SIGCHLD}

_log = structlog.get_logger()


@dataclass(slots=True)
class Child:
    """One place to fill: a server or an instance of a program, and what has become of it."""

    name: str
    family: str
    launch: Callable[[], Running]
    log_file: Path
    server: ServerPlan | None = None
    once: bool = False
    grace: float = 10.0
    is_ready: Callable[[Milliseconds], bool] | None = None
    process: Running | None = None
    identity: ProcessId | None = None
    state: str = "waiting"
    since: int = 0
    begun: float = 0.0
    due: float = 0.0
    pause: float = FIRST_PAUSE
    exits: int = 0
    note: str = ""
    log_offset: int = 0

    def enter(self, state: str, note: str = "") -> None:
        self.state, self.note, self.since = state, note, time.time_ns() // 1_000_000

    def member(self) -> Member:
        return Member(self.name, self.state, self.identity, self.since, self.exits, self.note)


def next_pause(pause: float, ran: float) -> float:
    """Return the pause before the start after the next one: twice this one, or the first again after a calm run."""
    return FIRST_PAUSE if ran >= CALM else min(pause * 2, LONGEST_PAUSE)


def is_ending(number: int) -> bool:
    """Say whether a signal tells us to end: SIGTERM, SIGINT, and SIGHUP unless we were started by nohup."""
    return number in _ENDING and (number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN)


@dataclass(slots=True)
class Supervisor:
    """Runs a cluster's servers and programs on one machine until it is told to stop.

    programs   in the order of their start; they stop in reverse
    prepare    called once the servers answer, before the first program: checks the log, creates it. Short, leaves no
               thread
    finish     called once the last program has ended, unless `prepare` had failed
    changed    called with the record (also the status table) whenever it changes
    progress   called with a sentence while something takes long
    """

    settings: Settings
    programs: Sequence[Program]
    prepare: Callable[[Settings], None] = lambda _: None
    finish: Callable[[Settings], None] = lambda _: None
    changed: Callable[[ClusterRecord], None] = lambda _: None
    progress: Callable[[str], None] = lambda _: None
    _children: list[Child] = field(default_factory=list)
    _lock: int = -1
    _guard: StorageGuard | None = None
    _inspected: float = 0.0
    _published: ClusterRecord | None = None
    _ready: bool = False

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or SIGHUP; return the exit code: 0, or 70 where a program found history lost.

        Raises AlreadyExists where another `up` holds the data directory, Unavailable where a server does not start,
        and what `prepare` raises; nothing is left running then either.
        """
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        try:
            self._lock_data_dir()
            try:
                self._begin()
                self._watch()
            except _Ended:
                pass
            finally:
                self._end()
        finally:
            while signal.sigtimedwait(_WATCHED, 0) is not None:
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        return LostHistory.exit_code if any(child.state == "halted" for child in self._children) else 0

    def _lock_data_dir(self) -> None:
        record = read_record(self.settings.data_dir)
        rival = record is not None and is_alive(record.supervisor)
        self._lock = lock_data_dir(self.settings.data_dir, 0.0 if rival else 5.0)
        remove_record(self.settings.data_dir)

    def _begin(self) -> None:
        servers = self._plan_servers()
        for child in servers:
            self._children.append(child)
            self._start(child)
        self._publish()
        for child in servers:
            if child.server is not None and child.process is not None:
                wait_until_loaded(child.server, partial(_poll_or_end, child.process), self.progress)
                self._take_server(child)
        client = connect(self.settings.log_url, "supervisor", retries=0, timeout=1.0)
        log = next((child.server for child in servers if child.name == "log"), None)
        self._guard = StorageGuard(client, self.settings.cluster, log.directory if log else None)
        self.prepare(self.settings)
        gc.collect()
        gc.freeze()
        self._ready = True
        self._children += [child for program in self.programs for child in self._places(program)]

    def _watch(self) -> None:
        while True:
            self._reap()
            self._start_due()
            self._inspect()
            self._publish()
            found = signal.sigtimedwait(_WATCHED, self._until_next())
            if found is not None and is_ending(found.si_signo):
                return

    def _plan_servers(self) -> list[Child]:
        settings, children = self.settings, []
        memory = settings.data_dir.absolute() / "log-server"
        embeds = not (settings.log_url and settings.queue_url)
        binary = find_server(prefer=remembered_server(memory)) if embeds else None
        make_socket_dir(settings.socket_dir)
        if binary is not None and not settings.log_url:
            memory.write_text(f"{binary.path}\n")
            children.append(self._server("log", binary))
        if binary is not None and not settings.queue_url:
            children.append(self._server("queue", binary))
        urls = {child.name: child.server.url for child in children if child.server}
        self.settings = with_servers(
            settings, settings.log_url or urls["log"], settings.queue_url or urls["queue"]
        )
        return children

    def _server(self, name: str, binary: ServerBinary) -> Child:
        data_dir = self.settings.data_dir.absolute()
        plan = ServerPlan(
            name=name,
            directory=data_dir / name,
            socket=self.settings.socket_dir / f"{name}.sock",
            log_file=data_dir / "logs" / f"{name}-server.log",
            durability=self.settings.durability if name == "log" else None,
            max_memory=default_max_memory() if name == "log" else 0,
        )
        return Child(name, name, partial(launch, plan, binary, (self._lock,)), plan.log_file, server=plan)

    def _places(self, program: Program) -> Iterator[Child]:
        for number in range(1, program.count + 1):
            name = program.name if program.count == 1 else f"{program.name}-{number}"
            log_file = self.settings.data_dir.absolute() / "logs" / f"{name}.log"
            start = partial(fork, partial(run_program, program, name, log_file, self.settings), self._lock)
            is_ready = partial(program.is_ready, self.settings) if program.is_ready else None
            yield Child(
                name, program.name, start, log_file, once=program.once, grace=program.grace, is_ready=is_ready
            )

    def _start(self, child: Child) -> None:
        child.begun = time.monotonic()
        child.log_offset = child.log_file.stat().st_size if child.log_file.exists() else 0
        if self._guard is not None:
            self._guard.client.connection_pool.disconnect()  # a child would inherit its way to the log
        try:
            child.process = child.launch()
        except OSError as error:
            self._plan_next_start(child, f"cannot be started: {error}")
            return
        child.identity = process_id_of(child.process.pid)
        child.enter("starting" if child.server or child.is_ready else "running")

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.state == "waiting" and child.due <= now:
                self._start(child)
            elif child.state == "starting" and child.server is not None and has_loaded(child.server):
                self._take_server(child)
            elif child.state == "starting" and child.is_ready is not None and child.is_ready(child.since):
                child.enter("running")

    def _take_server(self, child: Child) -> None:
        offset = truncation_of(child.log_file, child.log_offset)
        note = ""
        if child.name == "log" and offset is not None:
            note = f"its file ended mid-entry and was cut at byte {offset}; {self._end_of_log()}"
            _log.error("the log was cut", byte=offset, note=note)
        child.enter("running", note)

    def _end_of_log(self) -> str:
        client = connect(self.settings.log_url, "supervisor", retries=0, timeout=1.0)
        try:
            tail = client.hget(heads_key(self.settings.cluster), "tail")
        except redis.RedisError:
            return "where the log ends now is not known"
        finally:
            client.close()
        return (
            f"the log ends at position {tail.decode()} now"
            if isinstance(tail, bytes)
            else "the log is empty now"
        )

    def _reap(self) -> None:
        for child in self._children:
            code = child.process.poll() if child.process is not None else None
            if code is None:
                continue
            child.process, child.identity = None, None
            if child.once and code == 0:
                child.enter("finished")
            elif code == LostHistory.exit_code and child.server is None:
                child.exits += 1
                child.enter("halted", f"history is lost, so it is not started again: see {child.log_file}")
                _log.critical("a program found history lost and is not started again", program=child.name)
                self._inspected = 0.0
            else:
                reason = "" if child.server else failure_in(child.log_file, child.log_offset)
                self._plan_next_start(child, f"ended with {code}{reason and f': {reason}'}")

    def _plan_next_start(self, child: Child, note: str) -> None:
        now = time.monotonic()
        ran = now - child.begun
        pause = FIRST_PAUSE if ran >= CALM else child.pause
        child.due, child.pause = now + pause, next_pause(pause, ran)
        child.exits += 1
        child.enter("waiting", f"{note}; see {child.log_file}")
        _log.warning("a child ended", child=child.name, note=note, again_in=pause)

    def _inspect(self) -> None:
        now = time.monotonic()
        if self._guard is None or now - self._inspected < INSPECTION:
            return
        self._inspected = now
        halted = ", ".join(child.name for child in self._children if child.state == "halted")
        with suppress(redis.RedisError):
            self._guard.inspect(f"{halted} found history lost" if halted else "")
        self._remember_end()

    def _remember_end(self) -> None:
        """Write down how far the log was seen, for the next start; not while history is in doubt."""
        if self._guard is None or not self._ready or any(child.state == "halted" for child in self._children):
            return
        with suppress(redis.RedisError, OSError):
            if found := self._guard.end():
                remember_end(self.settings.data_dir, *found)

    def _until_next(self) -> float:
        now = time.monotonic()
        moments = [self._inspected + INSPECTION]
        moments += [child.due for child in self._children if child.state == "waiting"]
        moments += [now + 0.05 for child in self._children if child.state == "starting"]
        return max(0.0, min(moments) - now)

    def _publish(self) -> None:
        me = process_id_of(os.getpid())
        if me is None:
            raise Unavailable("/proc does not show this process: mount it")
        log_url, queue_url, views_url = (
            "" if has_password(url) else url
            for url in (self.settings.log_url, self.settings.queue_url, self.settings.views_url)
        )
        record = ClusterRecord(
            cluster=self.settings.cluster,
            supervisor=me,
            log_url=log_url,
            queue_url=queue_url,
            views_url=views_url,
            durability=self.settings.durability.value,
            node_names=self.settings.node_names,
            members=tuple(child.member() for child in self._children),
            ready=self._ready,
        )
        if record != self._published:
            self._published = record
            with suppress(OSError):
                # A full disk must not end the cluster; the next change writes the record anew.
                write_record(self.settings.data_dir, record)
            self.changed(record)

    def _end(self) -> None:
        """Stop the programs in reverse order, then the queue, then the log; a second signal leaves no grace."""
        backwards = list(reversed(self._children))
        for family in dict.fromkeys(child.family for child in backwards if child.server is None):
            _end_family([child for child in backwards if child.family == family])
        if self._ready:
            self.finish(self.settings)
        self._remember_end()
        for child in backwards:
            if child.server is not None and child.process is not None:
                stop(child.server, child.process, child.grace)
        if self._guard is not None:
            self._guard.client.close()
        remove_record(self.settings.data_dir)
        remove_socket_dir(self.settings.socket_dir)
        os.close(self._lock)


class _Ended(Exception):
    """A signal to end came before everything was up."""


def _poll_or_end(process: Running) -> int | None:
    found = signal.sigtimedwait(_ENDING, 0)
    if found is not None and is_ending(found.si_signo):
        raise _Ended
    return process.poll()


def _end_family(children: Sequence[Child]) -> None:
    """Stop the instances of one program together; a further signal to end cuts their grace short."""
    running = [child.process for child in children if child.process is not None]
    for process in running:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + max((child.grace for child in children), default=0.0)
    while any(process.poll() is None for process in running):
        found = signal.sigtimedwait(_WATCHED, max(0.0, min(0.1, deadline - time.monotonic())))
        if time.monotonic() >= deadline or (found is not None and is_ending(found.si_signo)):
            break
    for process in running:
        end_child(process, 0.0)
