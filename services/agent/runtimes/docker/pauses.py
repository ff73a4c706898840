"""The image of the container that holds a pod's network: one program, which does nothing until it is killed.

It is made here, so that no registry is needed for it. As process 1 of a pod that shares its process namespace it
inherits orphans; SIGCHLD is ignored, so that the kernel reaps them. In C: `signal(SIGCHLD, SIG_IGN); for (;;) pause();`
"""

from __future__ import annotations

import io
import struct
import tarfile
from typing import Any

from docker.errors import ImageNotFound

from schemas.errors import Unavailable

IMAGE = "localhost/chronoset/pause:1"
"""With the registry in its name, since podman would look for it in others."""
_X86_64, _AARCH64 = 62, 183
_PROGRAMS = {
    # mov eax, 13 (rt_sigaction); mov edi, 17; lea rsi, [ignore]; xor edx, edx; mov r10d, 8; syscall
    # again: mov eax, 34 (pause); syscall; jmp again
    # ignore: .quad 1, 0, 0, 0
    "amd64": (
        _X86_64,
        "b80d000000 bf11000000 488d3513000000 31d2 41ba08000000 0f05 b822000000 0f05 ebf7" + "01" + "00" * 31,
    ),
    # mov x8, 134 (rt_sigaction); mov x0, 17; adr x1, ignore; mov x2, 0; mov x3, 8; svc 0
    # again: mov x8, 73 (ppoll); mov x0..x4, 0; svc 0; b again
    # ignore: .quad 1, 0, 0, 0
    "arm64": (
        _AARCH64,
        "c81080d2 200280d2 81010010 020080d2 030180d2 010000d4 280980d2 000080d2 010080d2 020080d2 030080d2"
        " 040080d2 010000d4 f9ffff17" + "01" + "00" * 31,
    ),
}
_LOADED_AT = 0x400000


def ensure_pause_image(client: Any) -> str:
    """Return the id of the image, made where the daemon has none. Raises Unavailable on a machine of another kind."""
    try:
        return str(client.inspect_image(IMAGE)["Id"])
    except ImageNotFound:
        machine = _ARCHITECTURES.get(client.version()["Arch"], client.version()["Arch"])
        if machine not in _PROGRAMS:
            raise Unavailable(
                f"the docker runtime runs on {' and '.join(_PROGRAMS)}, not on {machine!r}"
            ) from None
        import_layer(client, pause_layer(machine), IMAGE, 'ENTRYPOINT ["/pause"]')
    return str(client.inspect_image(IMAGE)["Id"])


def import_layer(client: Any, layer: bytes, name: str, change: str) -> None:
    """Make an image of one layer, a tar, under `name` (with its tag, which podman forgets while it imports)."""
    repository, _, tag = name.rpartition(":")
    client.import_image_from_data(layer, repository, tag, changes=[change])
    if not client.images(name):
        client.tag(f"{repository}:latest", repository, tag)


def pause_layer(machine: str) -> bytes:
    """Return the image's only layer, a tar with the program for `machine`: amd64 or arm64."""
    program = _elf(*_PROGRAMS[machine])
    info = tarfile.TarInfo("pause")
    info.size, info.mode = len(program), 0o755
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(info, io.BytesIO(program))
    return layer.getvalue()


def _elf(machine: int, code: str) -> bytes:
    """Return a static executable: the two headers that there must be, and the code (elf(5))."""
    text = bytes.fromhex(code)
    header, entry = 64, 56
    begins = _LOADED_AT + header + entry
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    fields = (2, machine, 1, begins, header, 0, 0, header, entry, 1, 0, 0, 0)
    size = header + entry + len(text)
    segment = (1, 5, 0, _LOADED_AT, _LOADED_AT, size, size, 0x1000)
    return ident + struct.pack("<HHIQQQIHHHHHH", *fields) + struct.pack("<IIQQQQQQ", *segment) + text


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
