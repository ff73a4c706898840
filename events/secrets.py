"""Secrets' values are encrypted before they enter the log, which forgets nothing.

Each Secret has a key of its own, apart from the log and on disk before the append: without it no version of the Secret
can be read, so history can forget it without a change of the log. Encrypted are the values of `data` and the annotation
that repeats them; names and types stay readable. A value reads `sealed:v1:<base64 of nonce and AES-256-GCM text>`,
bound to the Secret's uid and the value's name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.files import write_once
from schemas.errors import Unavailable
from schemas.objects import LAST_APPLIED, Object, uid_of, with_metadata

SEALED = "sealed:v1:"
_NONCE = 12
_COMMANDS = "commands"
"""The name of the key by which commands that carry values are digested."""


class Keyring:
    """One file of 32 random bytes for each Secret's uid, in a folder that only its owner may enter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, AESGCM] = {}

    def key(self, uid: str) -> AESGCM | None:
        """Return the key of a Secret, or None where there is none (it is gone, or kept elsewhere)."""
        if uid not in self._known and (content := self._read(uid)) is not None:
            self._known[uid] = AESGCM(content)
        return self._known.get(uid)

    def key_for_writing(self, uid: str) -> AESGCM:
        """Return the key of a Secret; a new one is on disk for good when this returns."""
        if uid not in self._known:
            self._known[uid] = AESGCM(self._read_or_made(uid))
        return self._known[uid]

    def digest(self, content: bytes) -> str:
        """Return a digest of what holds a Secret's values: nobody without the keys can try out what it was made of."""
        key = self._read_or_made(_COMMANDS)
        return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]

    def seal(self, new: Object, old: Object | None) -> Object:
        """Return `new` with a Secret's values encrypted; a value that has not changed keeps its text in `old`.

        Objects of other kinds are returned as they are.
        """
        if new["kind"] != "Secret":
            return new
        uid = uid_of(new)
        before = _values(old) if old else {}
        sealed = {
            name: self._sealed(uid, name, text, before.get(name, "")) for name, text in _values(new).items()
        }
        return _with_values(new, sealed)

    def unseal(self, obj: Object) -> Object:
        """Return a Secret with its values in the clear, where its key is at hand; else, and for other kinds, `obj`."""
        if obj["kind"] != "Secret":
            return obj
        key = self.key(uid_of(obj))
        if key is None:
            return obj
        return _with_values(
            obj, {name: _opened(key, uid_of(obj), name, text) for name, text in _values(obj).items()}
        )

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"a key of Secrets cannot be read: {error}") from error

    def _read_or_made(self, name: str) -> bytes:
        """Return a key; where there is none one is made, and of two who make one the first wins."""
        found = self._read(name)
        if found is not None:
            return found
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_once(self._path(name), AESGCM.generate_key(256))
            return self._path(name).read_bytes()
        except OSError as error:
            raise Unavailable(f"a key of Secrets cannot be written to {self._folder}: {error}") from error

    def _sealed(self, uid: str, name: str, text: str, before: str) -> str:
        if text == before:
            return text
        key = self.key_for_writing(uid)
        if before.startswith(SEALED) and _opened(key, uid, name, before) == text:
            return before
        nonce = os.urandom(_NONCE)
        cipher = key.encrypt(nonce, text.encode(), _bound_to(uid, name))
        return SEALED + base64.b64encode(nonce + cipher).decode()


def _values(obj: Object) -> dict[str, str]:
    """Return what must be secret: `data/<name>` -> value, and the last-applied annotation."""
    values = {f"data/{name}": value for name, value in (obj.get("data") or {}).items()}
    annotation = (obj["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    return values if annotation is None else {**values, LAST_APPLIED: annotation}


def _with_values(obj: Object, values: dict[str, str]) -> Object:
    if LAST_APPLIED in values:
        annotations = {**obj["metadata"]["annotations"], LAST_APPLIED: values[LAST_APPLIED]}
        obj = with_metadata(obj, annotations=annotations)
    data = {name.removeprefix("data/"): value for name, value in values.items() if name != LAST_APPLIED}
    return {**obj, "data": data} if data else obj


def _opened(key: AESGCM, uid: str, name: str, text: str) -> str:
    if not text.startswith(SEALED):
        return text
    raw = base64.b64decode(text.removeprefix(SEALED))
    try:
        return key.decrypt(raw[:_NONCE], raw[_NONCE:], _bound_to(uid, name)).decode()
    except InvalidTag as error:
        raise Unavailable(
            f"{name} of Secret {uid} does not open with its key: the text or the key was altered"
        ) from error


def _bound_to(uid: str, name: str) -> bytes:
    return f"{uid}/{name}".encode()
