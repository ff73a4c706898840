"""Times, durations and positions as people write them."""

from __future__ import annotations

import time

import pytest

from schemas.errors import BadRequest
from schemas.positions import end_of_time
from services.cli.moments import Moment, parse_duration, parse_moment, parse_position

NOON = 1_795_435_200_000
"""2026-11-23T12:00:00Z"""


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-23T11:00:00Z", NOON - 3_600_000),
        ("2026-11-23T12:00:00+01:00", NOON - 3_600_000),
        ("2026-11-23T11:59:59.500Z", NOON - 500),
        ("1795435200", NOON),
        ("1795435199.5", NOON - 500),
        ("1795435200000", NOON),
        ("10 minutes ago", NOON - 600_000),
        ("1 hour ago", NOON - 3_600_000),
        ("90s ago", NOON - 90_000),
        ("2d ago", NOON - 172_800_000),
        ("now", NOON),
    ],
)
def test_a_time_is_the_last_position_it_can_have(text: str, ms: int) -> None:
    assert parse_moment(text, NOON) == Moment(end_of_time(ms), True)


@pytest.mark.parametrize(
    ("text", "ms", "note"),
    [
        ("11:00Z", NOON - 3_600_000, "11:00Z is 2026-11-23T11:00:00Z"),
        ("11:00:30+01:00", NOON - 7_170_000, "11:00:30+01:00 is 2026-11-23T11:00:30+01:00"),
        ("9:30 Europe/Berlin", NOON - 12_600_000, "9:30 Europe/Berlin is 2026-11-23T09:30:00+01:00"),
        ("2026-11-23 12:00 Europe/Berlin", NOON - 3_600_000, ""),
    ],
)
def test_a_time_of_day_is_todays_and_it_is_said_which_moment_that_is(text: str, ms: int, note: str) -> None:
    assert parse_moment(text, NOON) == Moment(end_of_time(ms), True, note)


@pytest.mark.parametrize(("zone", "ms"), [("UTC", NOON - 3_600_000), ("America/New_York", NOON)])
def test_without_a_zone_a_time_of_day_is_this_machines(
    zone: str, ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = "11:00" if zone == "UTC" else "07:00"
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        moment = parse_moment(clock, NOON)
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        with pytest.raises(BadRequest, match="comes twice that day"):
            parse_moment("02:30", 1_792_929_600_000)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert moment.position == end_of_time(ms)
    assert "by this machine's zone" in moment.note


def test_a_position_is_a_stream_id_or_a_resource_version() -> None:
    assert parse_moment("1795435200000-3", NOON) == Moment((NOON << 20) + 3, False)
    assert parse_moment(str((NOON << 20) + 3), NOON) == Moment((NOON << 20) + 3, False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("25:03", "is no time"),
        ("14:03 EST", "'EST' is no time zone"),
        ("14:03 Mars/Olympus", "is no time zone"),
        (
            "2026-10-25 02:30 Europe/Berlin",
            r"twice that day.* write 2026-10-25T02:30:00\+02:00 or 2026-10-25T02:30:00\+01:00",
        ),
        ("2026-03-29 02:30 Europe/Berlin", "never comes that day"),
        ("23:00Z", "is in the future"),
        ("2026-11-23T11:00:00", "has no time zone"),
        ("2026-11-23", "has no time zone"),
        ("yesterday", "is no time"),
        ("10 parsecs ago", "is no time"),
        ("", "is no time"),
        ("2026-11-23T12:00:01Z", "is in the future"),
        ("99-99999999", "is no time"),
        ("99-2000000", "does not fit"),
    ],
)
def test_what_could_mean_two_things_or_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadRequest, match=rf"^--at: .*{problem}"):
        parse_moment(text, NOON)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h", 3600), ("1.5m", 90), ("3", 3), ("0.5", 0.5), ("2 days", 172_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1s", "", "1y", "m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"--timeout: .* is no duration; write one as 90s, 10m or 1h"):
        parse_duration(text)


def test_positions() -> None:
    assert parse_position("5-1") == (5 << 20) + 1
    assert parse_position("77") == 77
    for text in ("x", "5-", "-1", "5-9999999", "5.5"):
        with pytest.raises(BadRequest, match="--at-least"):
            parse_position(text)
