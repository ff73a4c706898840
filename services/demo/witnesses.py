"""What can be seen of a cluster without asking its control plane: HTTP answers, /proc, files on volumes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from schemas.errors import Unavailable
from schemas.objects import Object
from services.demo.database import PORT

_TIMEOUT = 3.0
_MARK = "CHRONOSET_CONTAINER"


def answer_of(address: str, path: str = "/", port: int = PORT) -> dict[str, Any]:
    """Return what the program at an address answers, by default a database. Raises Unavailable where it does not."""
    connection = HTTPConnection(address, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"http://{address}:{port}{path} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Unavailable(f"http://{address}:{port}{path} answers {response.status}: {answer}")
    return answer


def containers_in_proc(data_dir: Path) -> dict[str, int]:
    """Return the pid of each process that runs a container below `data_dir`, by container id.

    A program that forked has several pids; the lowest is given.
    """
    found: dict[str, int] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        environ = _environ_of(pid)
        if _MARK in environ and Path(environ.get("HOME", "/")).is_relative_to(data_dir):
            found.setdefault(environ[_MARK], pid)
    return found


def journal_of(data_dir: Path, volume: Object) -> list[str]:
    """Return the lines of the journal on a volume, which is a folder of its node."""
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    node = terms[0]["matchExpressions"][0]["values"][0]
    folder = data_dir / "nodes" / str(node) / str(volume["spec"]["local"]["path"])
    return (folder / "journal").read_text().splitlines()


def _environ_of(pid: int) -> Mapping[str, str]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(os.fsdecode(entry).split("=", 1) for entry in raw.split(b"\0") if b"=" in entry)
