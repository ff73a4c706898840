"""Control groups, version 1 and 2: what holds a container to its limits of memory, processor time and processes.

A node's groups are `<where it may make any>/chronoset/<key of the node>/<pod uid>/<container>.<attempt>`. A group is
made for one run and removed by its shim: its counters tell of that run alone. Only the standard library: shims use it.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

OURS = "chronoset"
MEMORY, CPU, PIDS = "memory", "cpu", "pids"
CONTROLLERS = (MEMORY, CPU, PIDS)
PERIOD = 100_000
"""Microseconds over which processor time is counted (kubelet: QuotaPeriod)."""
LEAST_QUOTA = 1_000
REMOVAL_SECONDS = 2.0
_EXTRAS = ("memory.memsw.limit_in_bytes", "memory.swap.max", "memory.oom.group", "cpu.shares", "cpu.weight")
"""Files that not every kernel has, and whose absence weakens no limit."""


class Limits(NamedTuple):
    """What a container may use: bytes, thousandths of a processor, processes of the whole pod. None: all."""

    memory: int | None = None
    cpu: int | None = None
    pids: int | None = None

    @property
    def wanted(self) -> list[str]:
        """The controllers that these limits need."""
        amounts = {MEMORY: self.memory, CPU: self.cpu, PIDS: self.pids}
        return [controller for controller, amount in amounts.items() if amount is not None]


class Hierarchy(NamedTuple):
    """Where this node may make groups: for each controller (version, folder); and why not, for the others."""

    bases: Mapping[str, tuple[int, str]] = MappingProxyType({})
    refusals: Mapping[str, str] = MappingProxyType({})


def find_hierarchy(key: str, proc: str = "/proc/self") -> Hierarchy:
    """Return where the calling process may make groups for the node `key`; a child of it enters one, to be sure."""
    bases: dict[str, tuple[int, str]] = {}
    refusals: dict[str, str] = {}
    for controller in CONTROLLERS:
        refusals[controller] = f"no control group hierarchy has the controller {controller}"
        for version, place in _places(controller, proc):
            base = f"{place}/{OURS}/{key}"
            try:
                _try(controller, version, base)
            except OSError as error:
                refusals[controller] = f"{place}: {error.strerror}"
            else:
                bases[controller] = (version, base)
                del refusals[controller]
                break
    return Hierarchy(bases, refusals)


def make_group(hierarchy: Hierarchy, pod: str, name: str, limits: Limits) -> list[str]:
    """Make the group of a run and return its folders, one for each controller that it needs and the node has.

    Raises OSError.
    """
    folders: list[str] = []
    for controller in limits.wanted:
        if controller in hierarchy.bases:
            version, base = hierarchy.bases[controller]
            folder = f"{base}/{pod}/{name}"
            _make_folders(folder, version)
            for file, value in _values(controller, version, limits):
                whole_pod = os.path.dirname(folder) if controller == PIDS else folder
                _write(f"{whole_pod}/{file}", value)
            if folder not in folders:
                folders.append(folder)
    return folders


def enter_group(folders: Collection[str]) -> None:
    """Move the calling process into a group. Raises OSError."""
    for folder in folders:
        _write(f"{folder}/cgroup.procs", "0")


def kills_in(folders: Collection[str]) -> int:
    """Return how many processes of a group the kernel has killed for memory."""
    for folder in folders:
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError), open(f"{folder}/{name}") as file:
                counts = dict(line.split() for line in file if len(line.split()) == 2)
                return int(counts.get("oom_kill", 0))
    return 0


def remove_group(folders: Collection[str]) -> None:
    """Remove a group, with what still runs in it, and the groups above it that are ours and empty."""
    for folder in folders:
        deadline = time.monotonic() + REMOVAL_SECONDS
        while not _remove(folder) and time.monotonic() < deadline:
            _kill(folder)
            time.sleep(0.005)
        above = os.path.dirname(folder)
        while OURS in above.split("/") and _remove(above):
            above = os.path.dirname(above)


def remove_leftovers(hierarchy: Hierarchy, living: Collection[tuple[str, str]]) -> int:
    """Remove the groups of runs that are not among `living`, (pod uid, name); return how many there were."""
    count = 0
    for base in sorted({base for _, base in hierarchy.bases.values()}):
        for pod in _folders_in(base):
            for name in _folders_in(f"{base}/{pod}"):
                if (pod, name) not in living:
                    remove_group([f"{base}/{pod}/{name}"])
                    count += 1
            if not any(pod == each for each, _ in living):
                _remove(f"{base}/{pod}")
    return count


def _places(controller: str, proc: str) -> Iterator[tuple[int, str]]:
    """Yield (version, folder) in which groups with this controller may be made, the nearest first.

    Version 1: our own group. Version 2: those above it, since none with processes can have limited ones below it.
    """
    paths = _own_paths(proc)
    for version, point, root, options in _mounts(proc):
        if version == 1 and controller in options and controller in paths:
            yield 1, _below(point, root, paths[controller])
    for version, point, root, _ in _mounts(proc):
        if version == 2 and "" in paths:
            own = _below(point, root, paths[""])
            while True:
                above = os.path.dirname(own) if own != point else point
                with suppress(OSError), open(f"{above}/cgroup.controllers") as file:
                    if controller in file.read().split():
                        yield 2, above
                if above == point or not above.startswith(point):
                    break
                own = above


def _own_paths(proc: str) -> dict[str, str]:
    """Return our group's path by controller, "" for version 2."""
    paths: dict[str, str] = {}
    with open(f"{proc}/cgroup") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            paths |= dict.fromkeys(names.split(","), path)
    return paths


def _mounts(proc: str) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield (version, mount point, root, options) of the hierarchies that are mounted."""
    with open(f"{proc}/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            fields, (kind, _, options) = before.split(), after.split()[:3]
            if kind in ("cgroup", "cgroup2"):
                yield (2 if kind == "cgroup2" else 1), fields[4], fields[3], options.split(",")


def _below(point: str, root: str, path: str) -> str:
    """Return the folder of a group whose path begins at the root of the hierarchy, of which `root` is mounted."""
    inside = os.path.relpath(path, root)
    return point if inside == "." or inside.startswith("..") else f"{point}/{inside}"


def _try(controller: str, version: int, base: str) -> None:
    """Make a group, move a process into it, and remove it. Raises OSError."""
    if version == 2:
        _enable(os.path.dirname(os.path.dirname(base)), [controller])
    limits = Limits(1 << 40, 1_000, 1 << 15)
    folder = f"{base}/probe/{os.getpid()}"
    try:
        _make_folders(folder, version)
        processors = os.cpu_count() or 1
        weight = (
            ("cpu.shares", 1024 * processors)
            if version == 1
            else ("cpu.weight", min(10_000, 39 * processors))
        )
        _write(f"{os.path.dirname(base)}/{weight[0]}", str(weight[1]))
        for file, value in _values(controller, version, limits):
            _write(f"{folder}/{file}", value)
        pid = os.fork()
        if pid == 0:
            code = errno.EIO
            try:
                enter_group([folder])
                code = 0
            except OSError as error:
                code = error.errno or code
            finally:
                os._exit(code)
        if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise OSError(code, os.strerror(code))
    finally:
        remove_group([folder])


def _values(controller: str, version: int, limits: Limits) -> list[tuple[str, str]]:
    """Return (file, content) in the order in which they must be written."""
    memory = str(limits.memory)
    quota = max(LEAST_QUOTA, (limits.cpu or 0) * PERIOD // 1000)
    match controller, version:
        case "memory", 1:
            return [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", memory)]
        case "memory", _:
            return [("memory.max", memory), ("memory.swap.max", "0"), ("memory.oom.group", "1")]
        case "cpu", 1:
            return [("cpu.cfs_period_us", str(PERIOD)), ("cpu.cfs_quota_us", str(quota))]
        case "cpu", _:
            return [("cpu.max", f"{quota} {PERIOD}")]
    return [("pids.max", str(limits.pids))]


def _make_folders(folder: str, version: int) -> None:
    """Make a group and those above it, which another one's removal may take away meanwhile."""
    for attempt in range(5):
        try:
            os.makedirs(folder, exist_ok=True)
            if version == 2:
                top = folder[: folder.index(f"/{OURS}/")]
                for level in (
                    f"{top}/{OURS}",
                    os.path.dirname(os.path.dirname(folder)),
                    os.path.dirname(folder),
                ):
                    _enable(level, CONTROLLERS)
            return
        except FileNotFoundError:
            if attempt == 4:
                raise


def _enable(folder: str, controllers: Collection[str]) -> None:
    """Let the groups below `folder` (version 2) have these controllers, as far as it has them itself."""
    with open(f"{folder}/cgroup.controllers") as file:
        found = file.read().split()
    with open(f"{folder}/cgroup.subtree_control") as file:
        enabled = file.read().split()
    for controller in controllers:
        if controller in found and controller not in enabled:
            _write(f"{folder}/cgroup.subtree_control", f"+{controller}")


def _write(path: str, content: str) -> None:
    """Write one value. Raises OSError, but not where the kernel has no such extra."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        if os.path.basename(path) in _EXTRAS:
            return
        raise
    try:
        os.write(descriptor, content.encode())
    except OSError:
        if os.path.basename(path) not in _EXTRAS:
            raise
    finally:
        os.close(descriptor)


def _remove(folder: str) -> bool:
    """Remove one empty group; return whether it is gone."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _kill(folder: str) -> None:
    with suppress(OSError), open(f"{folder}/cgroup.procs") as file:
        for pid in map(int, file.read().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _folders_in(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
