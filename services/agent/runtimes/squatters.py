"""Who else listens at a pod's address: pods that share a network can take one another's.

Linux lets every process bind every address of 127.0.0.0/8, so a pod may hold a port of another one, whose program then
fails with "address already in use". This finds out who it is.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.agent.runtimes.processes import CONTAINER, environ_of, pids

_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Squatter:
    """A process that listens at a port of a pod's address; `container` is the id of its own, "" where it has none."""

    port: int
    pid: int
    name: str
    container: str


def squatters_at(address: str, ports: set[int], uid: str, is_shared: bool = False) -> list[Squatter]:
    """Return who listens at `address`, or at one of `ports` of every address, and is not of the pod `uid`.

    At an address that is not the pod's alone (`is_shared`), only who has one of `ports` is in its way.
    """
    listening = {
        inode: port
        for at, port, inode in _listeners()
        if (at == address and not is_shared) or (at in (address, "0.0.0.0") and port in ports)
    }
    if not listening:
        return []
    own = f"process://{uid}/"
    return [each for each in _owners(listening) if not each.container.startswith(own)]


def _listeners() -> Iterator[tuple[str, int, str]]:
    """Yield (address, port, inode) of each socket that listens; all addresses of IPv6 are those of IPv4 too."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                place, _, port = fields[1].partition(":")
                yield _address(place), int(port, 16), fields[9]


def _address(text: str) -> str:
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    if packed == bytes(16):
        return "0.0.0.0"
    mapped = packed[:12] == b"\0" * 10 + b"\xff\xff"
    return socket.inet_ntop(*((socket.AF_INET, packed[12:]) if mapped else (socket.AF_INET6, packed)))


def _owners(listening: dict[str, int]) -> Iterator[Squatter]:
    seen: set[str] = set()
    for pid in pids():
        for inode in _sockets_of(pid) & (listening.keys() - seen):
            seen.add(inode)
            marks = [word for word in environ_of(pid) if word.startswith(f"{CONTAINER}=".encode())]
            container = marks[0].decode(errors="replace").partition("=")[2] if marks else ""
            yield Squatter(listening[inode], pid, _name_of(pid), container)


def _sockets_of(pid: int) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
