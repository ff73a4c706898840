"""The record of a running cluster, `<data-dir>/cluster.json`: how `chronoset` in another terminal finds it.

`up` writes it, whole, at every change of a program's state; so it is the status table as well.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from schemas.times import Milliseconds
from services.processes import ProcessId

RECORD = "cluster.json"
NAME = "cluster-name"
"""The file with the cluster's name, which stays when nothing runs."""


@dataclass(frozen=True, slots=True)
class Member:
    """One supervised process.

    state      `starting` (a server that does not answer yet), `running`, `waiting` (ended, to be started again),
               `finished` (a one-time program that did its work), `halted` (lost history: not started again)
    process    None unless it runs
    since      when it came into this state
    exits      how often it ended without being told to
    note       one sentence for people: why it is not running, or what is odd
    """

    name: str
    state: str
    process: ProcessId | None
    since: Milliseconds
    exits: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """A running cluster. A URL with a password is not written down: it is empty here.

    `ready` is False while its servers load and its log is made sure of.
    """

    cluster: str
    supervisor: ProcessId
    log_url: str
    queue_url: str
    views_url: str
    durability: str
    node_names: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    ready: bool = True


def write_record(data_dir: Path, record: ClusterRecord) -> None:
    """Write the record so that a reader sees the old one or the new one, never a part (mode 0600)."""
    path = data_dir / RECORD
    partial = path.with_suffix(".json.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(record), file, indent=1)
    os.replace(partial, path)


def read_record(data_dir: Path) -> ClusterRecord | None:
    """Return the record of the last `up` on this data directory, whether it still runs or not.

    None where there is none, or none that this version can read.
    """
    try:
        raw = json.loads((data_dir / RECORD).read_bytes())
        members = tuple(Member(**{**one, "process": _process(one["process"])}) for one in raw.pop("members"))
        supervisor = ProcessId(**raw.pop("supervisor"))
        return ClusterRecord(
            **{**raw, "node_names": tuple(raw["node_names"])}, supervisor=supervisor, members=members
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None


def remove_record(data_dir: Path) -> None:
    """Forget the cluster; there need be none."""
    (data_dir / RECORD).unlink(missing_ok=True)


def _process(raw: dict[str, int] | None) -> ProcessId | None:
    return None if raw is None else ProcessId(**raw)


def remember_cluster(data_dir: Path, name: str) -> None:
    """Write down the name of the cluster whose log this data directory follows, for whoever is not told."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = data_dir / f".{NAME}"
    draft.write_text(f"{name}\n")
    draft.replace(data_dir / NAME)


def remembered_cluster(data_dir: Path) -> str:
    """Return the name of the cluster of a data directory; empty where there was none yet."""
    try:
        return (data_dir / NAME).read_text().strip()
    except OSError:
        return ""
