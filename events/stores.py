"""Where an archive lies: a folder of this machine, or whatever fsspec reaches by a URL (s3://, gs://, abfs://, sftp://).

A file is durable when `put` returns. What a writer that died has left behind is a draft, or a file that no manifest
names. Names are relative, with slashes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from events.files import DRAFT, write_private
from schemas.errors import BadRequest, NotFound, Unavailable


class Store(Protocol):
    """A few files by name. Raises NotFound for one that is not there, Unavailable where the store fails."""

    place: str
    """The folder or URL, for people."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file, or replace it; durable when this returns."""

    def get(self, name: str) -> bytes:
        """Return a file."""

    def part(self, name: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start`; less where it ends before. A negative start is from its end."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, with the folder, sorted; none where it does not exist."""

    def delete(self, name: str) -> None:
        """Remove a file; harmless where it is gone."""


class Folder:
    """A store in a folder. A file is there whole or not at all (events.files)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def put(self, name: str, content: bytes) -> None:
        target = self.path / name
        with _failing(self.place, name):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(target, content)

    def get(self, name: str) -> bytes:
        with _failing(self.place, name):
            return (self.path / name).read_bytes()

    def part(self, name: str, start: int, length: int) -> bytes:
        with _failing(self.place, name), (self.path / name).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), length, start if start >= 0 else max(0, size + start))

    def names(self, folder: str) -> list[str]:
        with _failing(self.place, folder):
            try:
                found = os.listdir(self.path / folder)
            except FileNotFoundError:
                return []
            return sorted(f"{folder}/{name}" for name in found if not name.startswith(DRAFT))

    def delete(self, name: str) -> None:
        with _failing(self.place, name):
            (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the drafts of writers that died."""
        with _failing(self.place, "drafts"):
            for draft in self.path.glob(f"*/{DRAFT}*"):
                draft.unlink(missing_ok=True)


class Bucket:
    """A store behind a URL. Object stores write whole objects or none; what other servers keep of a broken upload has a
    name that nothing refers to, since files are read back before anything names them."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise BadRequest(
                f"{url}: an archive at a URL needs fsspec: pip install 'chronoset[archive]'"
            ) from None
        self.place = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise BadRequest(f"{url}: {error}; write a folder, or a URL that fsspec knows") from error

    def put(self, name: str, content: bytes) -> None:
        with _failing(self.place, name):
            path = self._path(name)
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, content)
            self._files.invalidate_cache()

    def get(self, name: str) -> bytes:
        with _failing(self.place, name):
            return _bytes(self._files.cat_file(self._path(name)))

    def part(self, name: str, start: int, length: int) -> bytes:
        with _failing(self.place, name):
            path = self._path(name)
            if start < 0:
                start = max(0, int(self._files.size(path)) + start)
            return _bytes(self._files.cat_file(path, start=start, end=start + length))

    def names(self, folder: str) -> list[str]:
        with _failing(self.place, folder):
            try:
                found = self._files.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted(f"{folder}/{str(path).rpartition('/')[2]}" for path in found)

    def delete(self, name: str) -> None:
        with _failing(self.place, name):
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def open_store(place: str | Path) -> Store:
    """Return the store at a folder or a URL. Raises BadRequest for a URL that nothing here can reach."""
    text = str(place)
    if "://" not in text:
        return Folder(Path(text))
    return Folder(Path(text.removeprefix("file://"))) if text.startswith("file://") else Bucket(text)


@contextmanager
def _failing(place: str, name: str) -> Iterator[None]:
    try:
        yield
    except (NotFound, Unavailable):
        raise
    except FileNotFoundError as error:
        raise NotFound(f"{name} is not in the archive {place}") from error
    except OSError as error:
        raise Unavailable(f"the archive {place} fails at {name}: {error.strerror or error}") from error


def _bytes(found: Any) -> bytes:
    return bytes(found)
