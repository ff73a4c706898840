"""Where in a cluster's log the moment is that somebody named."""

from __future__ import annotations

from typing import NamedTuple

from schemas.errors import BadRequest
from schemas.positions import Position, stream_id_of, time_of
from schemas.times import Milliseconds
from services.cli.moments import parse_moment
from services.cli.session import Session, now_ms
from services.cli.shown_events import clock_time
from services.cli.streams import aside
from services.history.past import Past


class Place(NamedTuple):
    """A position of a log, and the time that is meant by it: the time asked for, or the position's own."""

    position: Position
    time: Milliseconds


def place_of_words(session: Session, text: str, option: str) -> Place:
    """Return the place in the log that a time or a position means, and say it where the words alone do not.

    Raises BadRequest where it is no moment, in the future, before the log began or beyond its end.
    """
    moment = parse_moment(text, now_ms(), option)
    if moment.note:
        aside(moment.note)
    if moment.is_time:
        try:
            return Place(session.history.position_at(time_of(moment.position)), time_of(moment.position))
        except BadRequest as error:
            raise BadRequest(f"{option}: {error}") from None
    position = Past(session.history).checked(moment.position, option)
    if position != moment.position:
        named, end = stream_id_of(moment.position), stream_id_of(position)
        aside(f"{option}: {named} is inside a batch: its end {end} is meant")
    return Place(position, time_of(position))


def tell_thinned(session: Session, resources: frozenset[str], begin: Position) -> None:
    """Say what is missing from an answer that begins behind a position, of some resources or (none) of all."""
    for row in session.log.archive.refresh().thinned:
        if begin < row.until and (row.resource in resources or not resources):
            until = f"{stream_id_of(row.until)} ({clock_time(time_of(row.until))})"
            aside(
                f"{row.resource} is thinned up to {until}: its events before that are not kept, only its states at "
                "some moments"
            )
