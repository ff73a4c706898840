"""What is asked of a log, read from a query and checked as Kubernetes does (core validation: ValidatePodLogOptions)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import BadRequest, Cause, Invalid
from schemas.times import Milliseconds

TRUE = frozenset(("true", "1", "t", "T", "TRUE", "True"))
_FALSE = frozenset(("false", "0", "f", "F", "FALSE", "False", ""))
_FRACTION = re.compile(r"\.(\d{1,9})")
_STREAMS = {"All": "", "Stdout": "stdout", "Stderr": "stderr"}


@dataclass(frozen=True, slots=True)
class LogOptions:
    """PodLogOptions. `since` is an RFC 3339 text with nine digits of a second, "" for all; `stream` "" for both."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: str = ""
    limit: int | None = None
    stream: str = ""


def log_options(query: Mapping[str, str], now: Milliseconds) -> LogOptions:
    """Return what a query asks for. Raises BadRequest where it cannot be read, Invalid where it breaks a rule."""
    tail, limit = _number(query, "tailLines"), _number(query, "limitBytes")
    seconds, moment = _number(query, "sinceSeconds"), query.get("sinceTime", "")
    causes: list[Cause] = []
    if tail is not None and tail < 0:
        causes.append(_cause("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        causes.append(_cause("limitBytes", limit, "must be greater than 0"))
    if seconds is not None and moment:
        both = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(Cause("", both, "FieldValueForbidden"))
    if seconds is not None and seconds < 1:
        causes.append(_cause("sinceSeconds", seconds, "must be greater than 0"))
    stream = query.get("stream", "All")
    if stream not in _STREAMS:
        supported = 'supported values: "All", "Stderr", "Stdout"'
        causes.append(
            Cause("stream", f'Unsupported value: "{stream}": {supported}', "FieldValueNotSupported")
        )
    if causes:
        raise Invalid("PodLogOptions", causes)
    since = _moment(moment) if moment else "" if seconds is None else _stamp(now - seconds * 1000)
    flags = {name: flag(query, name) for name in ("follow", "previous", "timestamps")}
    return LogOptions(**flags, tail=tail, since=since, limit=limit, stream=_STREAMS[stream])


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean of a query. Raises BadRequest."""
    text = query.get(name, "")
    if text in TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadRequest(f"{name}: {text[:40]!r} is neither true nor false")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise BadRequest(f"{name}: {text[:40]!r} is no whole number")
    return int(text)


def _cause(field: str, value: int, what: str) -> Cause:
    return Cause(field, f"Invalid value: {value}: {what}")


def _stamp(at: Milliseconds) -> str:
    seconds, rest = divmod(max(at, 0), 1000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}000000Z"


def _moment(text: str) -> str:
    """Return a moment, of whatever zone and precision, as logs write it. Raises BadRequest."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        raise BadRequest(f"sinceTime: {text[:40]!r} is no RFC 3339 time: write 2026-11-23T05:00:00Z")
    fraction = found.group(1) if (found := _FRACTION.search(text)) else ""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%S}.{fraction:0<9}Z"
