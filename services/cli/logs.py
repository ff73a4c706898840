"""`chronoset logs`: what containers print, from the servers of their nodes, as kubectl shows it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import typer

from schemas.errors import BadRequest, ChronosetError
from schemas.objects import Object, name_of, namespace_of
from schemas.times import parse_rfc3339
from services.cli.completions import complete_pod
from services.cli.moments import parse_duration
from services.cli.node_clients import client_of
from services.cli.options import DataDir, Namespace, count_from
from services.cli.pod_choices import container_chosen, container_names, pod_named, pods_selected
from services.cli.session import Session, open_session
from services.cli.streams import aside

SELECTED_TAIL = 10
"""How many lines of each log are shown where pods are selected by labels and nothing else is said (kubectl)."""
MOST_FOLLOWED = 5


@dataclass(frozen=True, slots=True)
class Source:
    """One container's log, and what its lines begin with."""

    pod: Object
    container: str
    prefix: str = ""
    query: dict[str, str] = field(default_factory=dict)


def logs(
    pod: Annotated[
        str, typer.Argument(metavar="POD", help="Or sts/NAME, ds/NAME.", autocompletion=complete_pod)
    ] = "",
    container: Annotated[
        str, typer.Option("--container", "-c", metavar="NAME", help="Which one, where there are several.")
    ] = "",
    every_container: Annotated[bool, typer.Option("--all-containers", help="Of all of the pod's.")] = False,
    selector: Annotated[
        str, typer.Option("--selector", "-l", metavar="SELECTOR", help="Of all pods with these labels.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Of the run before the present one.")
    ] = False,
    since: Annotated[str, typer.Option(metavar="TIME", help="Not older than 90s, 10m or 1h.")] = "",
    since_time: Annotated[
        str, typer.Option("--since-time", metavar="TIME", help="Not older than 2026-11-23T05:00:00Z.")
    ] = "",
    tail: Annotated[
        int | None, typer.Option(parser=count_from(-1), metavar="N", help="Only the last N lines; -1: all.")
    ] = None,
    limit_bytes: Annotated[
        int | None, typer.Option("--limit-bytes", parser=count_from(1), metavar="N", help="At most N bytes.")
    ] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="When each line was printed.")] = False,
    prefix: Annotated[bool, typer.Option("--prefix", help="Begin lines with pod and container.")] = False,
    most: Annotated[
        int,
        typer.Option(
            "--max-log-requests", metavar="N", parser=count_from(1), help="How many may be followed."
        ),
    ] = MOST_FOLLOWED,
    namespace: Namespace = "default",
    data_dir: DataDir = None,
) -> None:
    """Show what a pod's containers printed.

    The log of a container's present run and of the one before are kept, at most 20 MiB of each.

    \b
    Example:
      chronoset logs db-0 --tail 20
      chronoset logs db-0 -c db --follow
      chronoset logs db-0 --previous --since 10m --timestamps
      chronoset logs -l app=db --all-containers --prefix
    """
    if pod and selector:
        raise BadRequest("--selector: a name is one pod; leave out one of them")
    if not pod and not selector:
        raise BadRequest("POD: is missing; name a pod, or select some by --selector")
    if container and every_container:
        raise BadRequest("--all-containers: a container is named as well; leave out one of them")
    flags = {"follow": follow, "previous": previous, "timestamps": timestamps}
    query = {name: "true" for name, wanted in flags.items() if wanted}
    query |= _since(since, since_time) | _bounds(tail, limit_bytes, bool(selector))
    session = open_session(data_dir)
    pods = pods_selected(session, selector, namespace) if selector else [pod_named(session, pod, namespace)]
    if not pods:
        aside(f"No resources found in {namespace} namespace.")
    sources = [
        Source(each, name, f"[pod/{name_of(each)}/{name}] " if prefix else "", query)
        for each in pods
        for name in (
            container_names(each) if every_container else [container_chosen(each, container, bool(selector))]
        )
    ]
    if follow and len(sources) > most:
        raise BadRequest(
            f"--max-log-requests: {len(sources)} logs are to be followed, at most {most} may; write a larger number"
        )
    _show(session, sources, follow)


def _since(since: str, since_time: str) -> dict[str, str]:
    if since and since_time:
        raise BadRequest("--since-time: --since is given as well; leave out one of them")
    if since_time:
        try:
            parse_rfc3339(since_time)
        except ValueError:
            wanted = "write one with its zone, as 2026-11-23T05:00:00Z"
            raise BadRequest(f"--since-time: {since_time!r} is no RFC 3339 time; {wanted}") from None
        return {"sinceTime": since_time}
    if not since:
        return {}
    try:
        seconds = parse_duration(since)
    except BadRequest:
        raise BadRequest(f"--since: {since!r} is no duration; write one as 90s, 10m or 1h") from None
    return {"sinceSeconds": str(max(1, round(seconds)))} if seconds > 0 else {}


def _bounds(tail: int | None, limit: int | None, is_selected: bool) -> dict[str, str]:
    lines = SELECTED_TAIL if tail is None and is_selected else tail
    bounds = {"tailLines": None if lines == -1 else lines, "limitBytes": limit}
    return {name: str(value) for name, value in bounds.items() if value is not None}


def _show(session: Session, sources: Sequence[Source], follow: bool) -> None:
    """Show several logs one after the other; those that are followed all at once, line by line."""
    if not follow or len(sources) == 1:
        for source in sources:
            _copy(_parts(session, source), source.prefix, _write)
        return
    lock, failures = threading.Lock(), list[ChronosetError | OSError]()

    def write(data: bytes) -> None:
        with lock:
            _write(data)

    def copy(parts: Iterator[bytes], begins: str) -> None:
        try:
            _copy(parts, begins, write, by_line=True)
        except (ChronosetError, OSError) as error:
            failures.append(error)

    threads = [
        threading.Thread(target=partial(copy, _parts(session, source), source.prefix), daemon=True)
        for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
            if failures:
                raise failures[0]


def _parts(session: Session, source: Source) -> Iterator[bytes]:
    pod = source.pod
    path = f"/containerLogs/{namespace_of(pod)}/{name_of(pod)}/{source.container}"
    return client_of(session, pod).stream(path, source.query)


def _copy(parts: Iterator[bytes], prefix: str, write: Callable[[bytes], None], by_line: bool = False) -> None:
    """Write a log as it comes; whole lines only where several are shown at once, or lines begin with a prefix."""
    if not prefix and not by_line:
        for part in parts:
            write(part)
        return
    begins, rest = prefix.encode(), b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if lines:
            write(b"".join(begins + line + b"\n" for line in lines))
    if rest:
        write(begins + rest)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
