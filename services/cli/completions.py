"""What the shell offers on Tab: kinds, and the names of objects as the projections have them.

A person waits for it, so nothing is imported that takes long: the views are asked without the Redis client where they
are on this machine. Whatever goes wrong, nothing is offered and nothing is said.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import typer

from schemas.kinds import KINDS, NAMESPACE, NODE, POD, Kind, kind_named

PATIENCE = 0.2
"""Seconds that the server has for its answer."""
MOST_NAMES = 1000


def complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return what may come next in `KIND`, `KIND,KIND`, `KIND NAME...` or `KIND/NAME...`."""
    given = list(ctx.params.get("target") or ())
    if "/" in incomplete or any("/" in word for word in given):
        word, slash, start = incomplete.partition("/")
        kind = kind_named(word)
        if not slash:
            return [f"{each}/" for each in _kind_words(incomplete)]
        return [f"{word}/{name}" for name in _names(ctx, kind, start) if f"{word}/{name}" not in given]
    if not given:
        before, comma, start = incomplete.rpartition(",")
        return [f"{before}{comma}{word}" for word in _kind_words(start)]
    return [name for name in _names(ctx, kind_named(given[0]), incomplete) if name not in given[1:]]


def complete_pod(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the pods of the namespace."""
    return _names(ctx, POD, incomplete)


def complete_node(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the nodes."""
    return _names(ctx, NODE, incomplete)


def complete_namespace(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces."""
    return _names(ctx, NAMESPACE, incomplete)


def _kind_words(start: str) -> list[str]:
    """Return the plurals that begin so; short names too once something was typed."""
    plurals = [kind.plural for kind in KINDS if kind.plural.startswith(start)]
    shorts = [short for kind in KINDS for short in kind.short_names if start and short.startswith(start)]
    return [*shorts, *plurals]


def _names(ctx: typer.Context, kind: Kind | None, start: str) -> list[str]:
    if kind is None:
        return []
    namespace = ctx.params.get("namespace") or "default"
    prefix = f"{namespace}/" if kind.namespaced and not ctx.params.get("everywhere") else ""
    try:
        fields = _fields(_data_dir(ctx), kind)
    except Exception:  # noqa: BLE001 - on Tab nothing is said, whatever is wrong
        return []
    names = {field.removeprefix(prefix).rpartition("/")[2] for field in fields if field.startswith(prefix)}
    return sorted(name for name in names if name.startswith(start))[:MOST_NAMES]


def _data_dir(ctx: typer.Context) -> Path | None:
    root = ctx.find_root().params.get("data_dir")
    found: Any = ctx.params.get("data_dir") or root
    return Path(found) if found else None


def _fields(data_dir: Path | None, kind: Kind) -> list[str]:
    """Return `namespace/name` of every object of a kind."""
    from services.projections.keys import in_generation, objects, views_key
    from services.settings import joined, settings_from

    settings = joined(settings_from(os.environ, data_dir))
    cluster = settings.cluster
    with _asking(settings.views_url) as ask:
        generation = ask("HGET", views_key(cluster), "generation").decode()
        found = ask("HKEYS", in_generation(cluster, generation, objects(kind.resource)))
    return [field.decode() for field in found]


@contextmanager
def _asking(url: str) -> Iterator[Callable[..., Any]]:
    """Give what sends a command to a server and returns the answer."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme != "unix" or parts.netloc or options.keys() - {"db"}:
        from services.connections import connect

        with connect(url, "completion", retries=0, timeout=PATIENCE) as client:
            yield client.execute_command
        return
    import hiredis

    reader, pack = hiredis.Reader(), cast("Callable[..., bytes]", hiredis.pack_command)

    def ask(*command: str) -> Any:
        connection.sendall(pack(command))
        while (answer := reader.gets()) is False:
            received = connection.recv(1 << 16)
            if not received:
                raise ConnectionError("the server hung up")
            reader.feed(received)
        return answer

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(unquote(parts.path))
        ask("SELECT", options.get("db", "0"))
        yield ask
