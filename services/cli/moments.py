"""Times, durations and positions as people write them.

A date without a zone is refused: on another machine it would be another moment. `14:03` is today's, on this machine's
clock, and it is said which moment that is. What a clock shows twice, or never, since it was put back or forward, is
refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import BadRequest
from schemas.positions import Position, end_of_time, position_of
from schemas.times import Milliseconds, parse_rfc3339

ACCEPTED = (
    "a time with zone as 2026-11-23T02:17:59Z, 14:03 for today, seconds since 1970, '10 minutes ago', "
    "or a position as 1763864279000-0"
)
_UNITS = {"s": 1, "second": 1, "sec": 1, "m": 60, "minute": 60, "min": 60, "h": 3600, "hour": 3600}
_UNITS |= {"d": 86_400, "day": 86_400, "w": 604_800, "week": 604_800}
_is_position = re.compile(r"[0-9]{1,15}-[0-9]{1,7}", re.ASCII).fullmatch
_is_number = re.compile(r"[0-9]{1,19}(\.[0-9]{1,9})?", re.ASCII).fullmatch
_is_local = re.compile(
    r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d\d?:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*"
    r"([A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*|[+-]\d\d:\d\d)?",
    re.ASCII,
).fullmatch
"""A date (or today), a time of day, and a zone (or this machine's)."""
_is_duration = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([a-z]+?)", re.ASCII).fullmatch
_FEWEST_MS = 10**11
_FEWEST_POSITION = 10**15
"""Of a bare number: below, seconds since 1970; between, milliseconds; above, a resourceVersion."""


class Moment(NamedTuple):
    """A place in the log: a position that was named as such, or the last one that a time can have.

    `note` says which moment was meant, where the words alone do not.
    """

    position: Position
    is_time: bool
    note: str = ""


def parse_moment(text: str, now: Milliseconds, option: str = "--at") -> Moment:
    """Return the moment that `text` means. Raises BadRequest, which names the option and what is accepted.

    A date without zone is refused: whose zone would it be? So are a time in the future, and one that a clock shows
    twice since it was put back.
    """
    words = text.strip()
    if _is_position(words):
        return Moment(_position_of(words, option), False)
    if _is_number(words) and "." not in words and int(words) >= _FEWEST_POSITION:
        return Moment(int(words), False)
    local = _is_local(words)
    if local is not None and (local[3] or not local[1]):
        ms, note = _local_time(local, now, option)
    else:
        ms, note = now if words == "now" else _time_of(words, now, option), ""
    if ms > now:
        raise BadRequest(f"{option}: {text!r} is in the future; write {ACCEPTED}")
    return Moment(end_of_time(max(ms, 0)), True, note)


def parse_position(text: str, option: str = "--at-least") -> Position:
    """Return the position of a stream id or a resourceVersion. Raises BadRequest."""
    if _is_position(text):
        return _position_of(text, option)
    if text.isascii() and text.isdecimal() and len(text) <= 19:
        return int(text)
    raise BadRequest(f"{option}: {text!r} is no position; write one as 1763864279000-0, or a resourceVersion")


def parse_duration(text: str) -> float:
    """Return the seconds of `90s`, `10m`, `1h`, `1.5m` or a bare number. Raises BadRequest."""
    words = text.strip()
    if _is_number(words):
        return float(words)
    seconds = _seconds_of(words)
    if seconds is None:
        raise BadRequest(f"--timeout: {text!r} is no duration; write one as 90s, 10m or 1h")
    return seconds


def _time_of(text: str, now: Milliseconds, option: str) -> Milliseconds:
    if _is_number(text):
        number = float(text)
        return int(number) if number >= _FEWEST_MS else int(number * 1000)
    if text.endswith(" ago"):
        seconds = _seconds_of(text.removesuffix("ago").strip())
        if seconds is not None:
            return now - int(seconds * 1000)
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        zoneless = "has no time zone" in str(error)
        problem = "has no time zone" if zoneless else "is no time"
        raise BadRequest(f"{option}: {text!r} {problem}; write {ACCEPTED}") from None


def _local_time(found: re.Match[str], now: Milliseconds, option: str) -> tuple[Milliseconds, str]:
    """Return the time of `14:03`, `14:03Z` or `2026-10-25 02:30 Europe/Berlin`, and what is to be said of it."""
    date, clock, name = found.groups()
    zone = _zone_of(name, option) if name else None
    today = datetime.fromtimestamp(now / 1000, UTC).astimezone(zone)
    try:
        naive = datetime.fromisoformat(
            f"{date or today.date().isoformat()}T{clock if clock[2] == ':' else '0' + clock}"
        )
    except ValueError as error:
        raise BadRequest(f"{option}: {found[0]!r} is no time: {error}; write {ACCEPTED}") from None
    first, second = (_in_zone(naive.replace(fold=fold), zone) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        readings = [each.isoformat() for each in sorted((first, second), key=datetime.timestamp)]
        if first.astimezone(UTC) < second.astimezone(UTC):
            problem = f"comes twice that day, as the clock is put back; write {' or '.join(readings)}"
        else:
            problem = (
                "never comes that day, as the clock is put forward; write a time with its offset from UTC"
            )
        raise BadRequest(f"{option}: {found[0]!r} {problem}")
    note = (
        ""
        if date and name
        else f"{found[0]} is {first.isoformat().replace('+00:00', 'Z')}"
        + ("" if name else ", by this machine's zone")
    )
    return round(first.timestamp() * 1000), note


def _in_zone(naive: datetime, zone: tzinfo | None) -> datetime:
    return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)


def _zone_of(name: str, option: str) -> tzinfo:
    """Return the zone of `Z`, `+01:00` or `Europe/Berlin`. Raises BadRequest: `EST` means what its speaker means."""
    if name in ("Z", "UTC"):
        return UTC
    if name[0] in "+-":
        return datetime.strptime(name, "%z").tzinfo or UTC
    try:
        if "/" not in name:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise BadRequest(
            f"{option}: {name!r} is no time zone; write Z, an offset as +01:00, or a name as Europe/Berlin"
        ) from None


def _seconds_of(text: str) -> float | None:
    found = _is_duration(text)
    if found is None:
        return None
    unit = found[2] if found[2] in _UNITS else found[2].removesuffix("s")
    return float(found[1]) * _UNITS[unit] if unit in _UNITS else None


def _position_of(text: str, option: str) -> Position:
    try:
        return position_of(text)
    except ValueError as error:
        raise BadRequest(f"{option}: {text!r} is no position: {error}") from None
