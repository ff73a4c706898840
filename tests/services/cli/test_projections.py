"""`chronoset projections`: how far they are, and new ones."""

from __future__ import annotations

from schemas.positions import stream_id_of
from tests.services.cli.conftest import CommandLine


def test_status_tells_where_the_projections_stand_and_rebuild_makes_new_ones(chronoset: CommandLine):
    end = stream_id_of(chronoset.end())
    assert chronoset("get", "namespaces", "--at-least", end).code == 0
    told = chronoset("projections", "status", "-o", "json").json
    assert told == {"position": end, "log": end, "events": 0, "milliseconds": 0, "parked": {}}
    built = chronoset("projections", "rebuild")
    assert (built.code, f"objects at {end}, generation" in built.out) == (0, True)
    shown = chronoset("projections", "status").out
    assert shown == f"projections at {end}, 0 events behind the log's end\n"
