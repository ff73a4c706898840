"""Times, as Kubernetes stores what clients write in other ways."""

from __future__ import annotations

import pytest

from schemas.canonical import canonical
from schemas.times import canonical_time


@pytest.mark.parametrize(
    ("written", "seconds", "micro"),
    [
        ("2026-11-23T02:17:59Z", "2026-11-23T02:17:59Z", "2026-11-23T02:17:59.000000Z"),
        ("2026-11-23T02:17:59.5Z", "2026-11-23T02:17:59Z", "2026-11-23T02:17:59.500000Z"),
        ("2026-11-23T02:17:59.123456789Z", "2026-11-23T02:17:59Z", "2026-11-23T02:17:59.123456Z"),
        ("2026-11-23T02:17:59.25+00:00", "2026-11-23T02:17:59Z", "2026-11-23T02:17:59.250000Z"),
        ("2026-11-23T02:17:59+02:30", "2026-11-22T23:47:59Z", "2026-11-22T23:47:59.000000Z"),
        ("2026-12-31T23:59:60Z", "2026-12-31T23:59:60Z", "2026-12-31T23:59:60.000000Z"),
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
        ("2026-13-23T02:17:59+01:00", "2026-13-23T02:17:59+01:00", "2026-13-23T02:17:59+01:00"),
        ("2026-11-23", "2026-11-23", "2026-11-23"),
        ("yesterday", "yesterday", "yesterday"),
    ],
)
def test_a_time_is_written_in_utc_with_the_digits_that_its_type_has(
    written: str, seconds: str, micro: str
) -> None:
    assert (canonical_time(written), canonical_time(written, 6)) == (seconds, micro)


def test_the_times_of_an_object_are_stored_so() -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "a", "creationTimestamp": "2026-11-23T04:00:00+01:00"},
        "spec": {"renewTime": "2026-11-23T04:00:00.5+01:00"},
    }
    found = canonical(lease).object
    assert found["metadata"]["creationTimestamp"] == "2026-11-23T03:00:00Z"
    assert found["spec"]["renewTime"] == "2026-11-23T03:00:00.500000Z"
