"""Mounts and a host name of a container's own, by Linux namespaces; without root in a user namespace.

A mount point that does not exist is made without touching the host's disk: the nearest folder above it is replaced,
for the container only, by one in memory that mirrors it.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR, _MOUNT_ATTR_RDONLY, _AT_EMPTY_PATH = 442, 1, 0x1000
"""Linux 5.12; the number is the same on every machine."""


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    _check(
        _LIBC.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None),
        f"mount {source} at {target}",
    )


def _bind(source: str, target: str) -> None:
    _mount(source, target, None, _MS_BIND | _MS_REC)


def enter_namespaces(
    mode: str, hostname: str, root: str, mounts: list[list[str]], is_read_only: bool = False
) -> None:
    """Give this process mounts and a host name of its own; `mounts` are [source, target, "rw" or "ro"].

    `mode` is `root`, or `user` for a user namespace in which the caller keeps its ids. A target that does not exist is
    made without touching the host's disk: its nearest ancestor is replaced by a mirror in memory. Inside another mount
    it is made there. With `is_read_only` nothing can be written but the mounts that are "rw", /dev and /proc.
    """
    _unshare(mode)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _check(_LIBC.sethostname(hostname.encode(), len(hostname)), "sethostname")
    handles = [
        (target, os.open(source, os.O_PATH | os.O_CLOEXEC))
        for source, target, _ in sorted(mounts, key=_target)
    ]
    targets = [target for target, _ in handles]
    missing = [
        target for target in targets if not os.path.lexists(target) and not _is_inside(target, targets)
    ]
    prefix = root if any(_ancestor_of("", target) == "/" for target in missing) else ""
    if prefix:
        _mirror_folder("/", root)
    mirrored = {"/"}
    for target, handle in handles:
        if not os.path.lexists(prefix + target):
            ancestor = _ancestor_of(prefix, target)
            if ancestor not in mirrored and not _is_inside(target, targets):
                _mirror_folder(prefix + ancestor, prefix + ancestor)
                mirrored.add(ancestor)
            _make_place(handle, prefix + target)
        _bind(f"/proc/self/fd/{handle}", prefix + target)
        os.close(handle)
    if prefix:
        _change_root(root)
    _protect([(target, way) for _, target, way in mounts], is_read_only)


def _unshare(mode: str) -> None:
    uid, gid = os.getuid(), os.getgid()
    user = _CLONE_NEWUSER if mode == "user" else 0
    _check(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWUTS | user), "unshare")
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _protect(ways: list[tuple[str, str]], is_read_only: bool) -> None:
    """Make mounts read-only: those whose way is "ro" with what is below them, and with `is_read_only` all others too.

    The longest target above a mount decides about it.
    """
    if not is_read_only and all(way == "rw" for _, way in ways):
        return
    rules = [*ways, ("/dev", "rw"), ("/proc", "rw"), ("/", "ro" if is_read_only else "rw")]
    rules.sort(key=lambda rule: len(rule[0]), reverse=True)
    for point in _mount_points():
        if next(way for target, way in rules if point == target or _is_inside(point, [target])) == "ro":
            _set_read_only(point)


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", "rb") as file:
        escaped = {line.split()[4] for line in file}
    return sorted(os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in escaped)


def _set_read_only(point: str) -> None:
    """Make one mount read-only; one that we cannot reach, the program cannot either: it has no more rights than we."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    try:
        at = os.open(point, os.O_PATH | os.O_CLOEXEC)
    except (PermissionError, FileNotFoundError):
        return
    result = _LIBC.syscall(_MOUNT_SETATTR, at, b"", _AT_EMPTY_PATH, attributes, len(attributes))
    os.close(at)
    _check(result, f"make {point} read-only")


def _is_inside(path: str, folders: list[str]) -> bool:
    """Return whether `path` is below one of `folders`, and none of them itself."""
    return any(path.startswith(f"{folder.rstrip('/')}/") and path != folder for folder in folders)


def _make_place(handle: int, target: str) -> None:
    """Make what can be mounted over: a folder, or a file where a file is mounted."""
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        os.makedirs(target)
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _target(mount: list[str]) -> str:
    return mount[1]


def _ancestor_of(prefix: str, target: str) -> str:
    """Return the nearest directory above `target` that exists below `prefix`."""
    ancestor = os.path.dirname(target)
    while not os.path.isdir(prefix + ancestor):
        ancestor = os.path.dirname(ancestor)
    return ancestor


def _mirror_folder(source: str, place: str) -> None:
    """Mount memory at `place` in which every entry of the folder `source` appears."""
    handle = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    original = f"/proc/self/fd/{handle}"
    _mount("chronoset", place, "tmpfs", 0)
    os.chmod(place, stat.S_IMODE(os.stat(original).st_mode))
    for name in os.listdir(original):
        _mirror(f"{original}/{name}", f"{place}/{name}")
    os.close(handle)


def _mirror(source: str, target: str) -> None:
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    _bind(source, target)


def _change_root(root: str) -> None:
    number = _PIVOT_ROOT.get(os.uname().machine)
    os.chdir(root)
    if number is None or _LIBC.syscall(number, b".", b".") != 0:
        os.chroot(".")
    else:
        _check(_LIBC.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def join_namespaces(mode: str, pid: int) -> None:
    """Enter the namespaces and the root directory of a container's program."""
    kinds = ["mnt", "uts"] if mode == "root" else ["user", "mnt", "uts"]
    handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_CLOEXEC)
    for handle in handles:
        _check(_LIBC.setns(handle, 0), "setns")
    os.fchdir(root)
    os.chroot(".")
