"""What a build in containers needs, where no registry is: images of this machine's Python and Redis, and wheels.

The stand-ins have names of their own, so that on nobody's machine they pass for the real images; compose.yaml takes
them by CHRONOSET_PYTHON_IMAGE and CHRONOSET_REDIS_IMAGE.
"""

from __future__ import annotations

import importlib.util
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.dockerd import SKIPPED

PYTHON_IMAGE = f"chronoset-test/python:{platform.python_version()}"
REDIS_IMAGE = "chronoset-test/redis:7"
_SHELL = """
sh basename cat chmod cp cut date dirname echo env expr find grep head hostname id install ln ls mkdir mv printf ps
pwd rm sed seq sleep sort tail test touch tr true uname wc
"""
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3"}
_COMMON = "libc libm libdl libpthread librt libutil libresolv libnss_dns libnss_files libstdc++ libgcc_s"
"""Libraries that wheels expect of every system (PEP 600), beside what a name's lookup loads."""
_USERS = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:999::/data:/bin/sh\n"
_GROUPS = "root:x:0:\nredis:x:999:\n"


def make_images(client: Any) -> None:
    """Make both images in a Docker daemon (its docker-py APIClient), where they are not there yet."""
    if not client.images(PYTHON_IMAGE):
        _import(client, PYTHON_IMAGE, _python(), ["ENV PATH=/usr/local/bin:/usr/bin:/bin", 'CMD ["python3"]'])
    if not client.images(REDIS_IMAGE):
        _import(client, REDIS_IMAGE, _redis(), ["ENV PATH=/usr/bin:/bin", "WORKDIR /data", "VOLUME /data"])


def download_wheels(pyproject: Path, folder: Path) -> None:
    """Put what Chronoset depends on, and what builds it, into a folder, as this machine's pip gets packages."""
    project = tomllib.loads(pyproject.read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["docker"],
    ]
    command = [*_pip(), "download", "-qq", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", folder, *wanted], check=True)


def _pip() -> Sequence[str | Path]:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [base, "-m", "pip"]
    return ["uv", "tool", "run", "--python", sys.executable, "pip"]


class _Layer:
    """The file system of an image in the making: programs with the libraries that they need."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names: set[str] = set()
        self._home = next(
            each for each in _libraries_of([Path("/bin/sh")]) if each.name.startswith("libc.")
        ).parent
        for folder, mode in (
            ("usr/bin", 0o755),
            ("usr/sbin", 0o755),
            ("usr/lib", 0o755),
            ("usr/lib64", 0o755),
        ):
            self.folder(folder, mode)
        for folder, mode in (("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("usr/local/bin", 0o755)):
            self.folder(folder, mode)
        for name in ("bin", "sbin", "lib", "lib64"):
            self.link(name, f"usr/{name}")
        self.text("etc/passwd", _USERS)
        self.text("etc/group", _GROUPS)
        self.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")

    def folder(self, name: str, mode: int, owner: int = 0) -> None:
        found = tarfile.TarInfo(name)
        found.type, found.mode, found.uid, found.gid = tarfile.DIRTYPE, mode, owner, owner
        self._tar.addfile(found)

    def link(self, name: str, target: str) -> None:
        found = tarfile.TarInfo(name)
        found.type, found.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(found)

    def text(self, name: str, content: str) -> None:
        found = tarfile.TarInfo(name)
        found.size, found.mode = len(content), 0o644
        self._tar.addfile(found, io.BytesIO(content.encode()))

    def program(self, name: str, source: Path) -> None:
        self._file(name, source)
        self.libraries([source])

    def libraries(self, binaries: Iterable[Path]) -> None:
        """Add the shared libraries of binaries, each beside the C library, where the loader looks by default."""
        for path in _libraries_of(binaries):
            is_loader = path.name.startswith("ld-")
            self._file(_inside(path if is_loader else self._home / path.name), path)

    def shared(self, names: Sequence[str]) -> None:
        """Add libraries by name, where this machine has them, and those that they need."""
        told = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
        found = [Path(each) for each in re.findall(r"=> (\S+\.so\.\d+)$", told, re.MULTILINE)]
        wanted = [path for path in found if path.name.partition(".so")[0] in names]
        for path in wanted:
            self._file(_inside(self._home / path.name), path)
        self.libraries(wanted)

    def tree(self, name: str, source: Path) -> None:
        """Add a folder's files without those that nobody needs here."""
        for folder, folders, files in os.walk(source):
            folders[:] = [
                each for each in folders if each not in _LEFT_OUT and not each.startswith("config-")
            ]
            for file in files:
                path = Path(folder, file)
                if not file.endswith((".a", ".pyc")) and path.exists():
                    self._file(f"{name}/{path.relative_to(source)}", path)

    def _file(self, name: str, source: Path) -> None:
        if name not in self._names:
            self._names.add(name)
            found = tarfile.TarInfo(name)
            found.size, found.mode = source.stat().st_size, source.stat().st_mode & 0o755
            with source.open("rb") as content:
                self._tar.addfile(found, content)


def _libraries_of(binaries: Iterable[Path]) -> list[Path]:
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return [Path(each) for each in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE)]


def _inside(path: Path) -> str:
    """Return where a library's path leads in the image, whose /lib is a link to /usr/lib."""
    return re.sub(r"^/(lib|lib64)/", r"usr/\1/", str(path)).lstrip("/")


def _import(client: Any, name: str, layer: Path, changes: Sequence[str]) -> None:
    repository, _, tag = name.rpartition(":")
    try:
        client.import_image_from_file(str(layer), repository, tag, changes=list(changes))
    finally:
        layer.unlink()


def _python() -> Path:
    """Return a layer like that of python:3-slim: the interpreter in /usr/local, the C library, a shell's tools."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = Path(sysconfig.get_path("stdlib"))
    with tempfile.NamedTemporaryFile(delete=False) as file, tarfile.open(fileobj=file, mode="w") as tar:
        layer = _Layer(tar)
        _add_shell(layer)
        layer.program(f"usr/local/bin/{version}", (Path(sys.base_prefix) / "bin" / version).resolve())
        for name in ("python", "python3"):
            layer.link(f"usr/local/bin/{name}", version)
        layer.tree(f"usr/local/lib/{version}", library)
        layer.libraries((library / "lib-dynload").glob("*.so"))
        wheels = Path("/usr/share/python-wheels")
        if wheels.is_dir():
            layer.tree("usr/share/python-wheels", wheels)
    return Path(file.name)


def _redis() -> Path:
    """Return a layer like that of redis:7. Debian's redis-tools has the server too: one program under several names."""
    server = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    client = shutil.which("redis-cli")
    if server is None or client is None:
        pytest.skip(f"{SKIPPED} WITH REDIS: install redis-tools (.ci/dockerd install)")
    with tempfile.NamedTemporaryFile(delete=False) as file, tarfile.open(fileobj=file, mode="w") as tar:
        layer = _Layer(tar)
        _add_shell(layer)
        layer.program("usr/bin/redis-server", Path(server).resolve())
        layer.program("usr/bin/redis-cli", Path(client).resolve())
        layer.folder("data", 0o755, 999)
    return Path(file.name)


def _add_shell(layer: _Layer) -> None:
    for name in _SHELL.split():
        if found := shutil.which(name, path="/usr/bin:/bin"):
            layer.program(f"usr/bin/{name}", Path(found).resolve())
    layer.shared(_COMMON.split())
