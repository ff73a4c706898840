"""`chronoset backup` and `restore`: a cluster's whole history elsewhere, and a cluster begun with it again."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from schemas.errors import BadRequest
from schemas.positions import stream_id_of, time_of
from schemas.times import rfc3339
from services.cli.options import DataDir
from services.cli.session import now_ms, open_session
from services.cli.streams import aside

Place = Annotated[str, typer.Argument(metavar="DIR|URL", help="A folder, or a URL as s3://bucket/folder.")]


def backup(
    place: Place,
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Copy the keys that open Secrets too: who has both reads them."),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Copy the whole history, up to now, while the cluster runs. The next time only what is new is copied.

    \b
    Example:
      chronoset backup /mnt/backups/prod
      chronoset backup s3://backups/prod --with-keys
    """
    from events.stores import open_store
    from services.backups import back_up

    session = open_session(data_dir)
    _check_place(place)
    done = back_up(session.log, open_store(place), session.settings.keys_dir if with_keys else None)
    events = sum(each.events for each in done.manifest.segments)
    end = done.manifest.end
    print(f"backed up {events:,} events up to {stream_id_of(end)} ({rfc3339(time_of(end))}) to {place}")
    aside(f"{done.written:,} bytes were new" + ("" if with_keys else "; the keys of Secrets are not in it"))


def restore(
    place: Place,
    to: Annotated[
        str, typer.Option("--to", metavar="WHEN", help="A time with zone, or a position; default: its end.")
    ] = "",
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="NAME", help="The name of the new cluster (chronoset).")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Make a data directory from a backup, as the cluster was at a moment. `chronoset up` then runs it.

    \b
    Example:
      chronoset restore /mnt/backups/prod --data-dir ./again
      chronoset restore /mnt/backups/prod --to 2026-11-23T02:17:59Z --cluster was-prod --data-dir ./again
    """
    from events.stores import open_store
    from services.backups import opened
    from services.cli.moments import parse_moment
    from services.restores import begin_again
    from services.settings import checked_cluster, settings_from, shown_path

    _check_place(place)
    settings = settings_from(os.environ, data_dir)
    if cluster:
        settings = replace(settings, cluster=checked_cluster(cluster, "--cluster"))
    moment = parse_moment(to, now_ms(), "--to") if to else None
    if moment is not None and moment.note:
        aside(moment.note)
    archive = opened(open_store(place))
    end = archive.manifest.end
    is_end = moment is None or (moment.is_time and time_of(moment.position) == time_of(end))
    done = begin_again(archive, settings, end if moment is None or is_end else moment.position, aside)
    then = rfc3339(time_of(done.state.position))
    where = shown_path(settings.data_dir)
    print(
        f"restored {len(done.state.objects)} objects as of {stream_id_of(done.state.position)} ({then}) into {where}"
    )
    aside(f"run it: chronoset up --data-dir {where}")


def _check_place(place: str) -> None:
    if not place.strip():
        raise BadRequest("DIR|URL: is empty; write a folder, or a URL as s3://bucket/folder")
