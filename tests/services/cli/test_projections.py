"""`chronoset projections`: how far they are, and new ones."""

from __future__ import annotations

from events.commit import Committer, Intent, Proposal
from events.replay import replay
from schemas.changes import Create
from schemas.envelopes import Actor
from schemas.positions import stream_id_of
from services.projections.keys import in_generation, views_key
from tests.servers import Server
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


def test_parked_events_are_shown_and_a_rebuild_tries_them_again(chronoset: CommandLine, server: Server):
    """One that still cannot be projected stays parked; one that was a defect of the projector is whole again."""
    metadata = {"name": "odd", "namespace": "default"}
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}
    numberless = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {**metadata, "ownerReferences": [reference]},
        "data": {},
    }
    state = replay(chronoset.log, chronoset.end())
    committer = Committer(chronoset.log, state, lambda _: None)
    committer.commit(lambda: Proposal([Create(numberless)]), Intent(Actor("user:mallory"), "poison"))
    end = stream_id_of(chronoset.end())
    assert chronoset("get", "namespaces", "--at-least", end).code == 0
    with server.client(db=1) as client:
        name = chronoset.log.cluster
        generation = client.hget(views_key(name), "generation").decode()  # type: ignore[union-attr]
        row = '{"position":"1-0","type":"NamespaceCreated","error":"a defect"}'
        client.hset(in_generation(name, generation, "parked"), "core/namespaces/default", row)
    shown = chronoset("projections", "status").out
    assert "apps/controllerrevisions/default/odd" in shown and "core/namespaces/default" in shown
    lines = chronoset("projections", "rebuild").out.splitlines()[1:]
    assert lines[0].startswith("apps/controllerrevisions/default/odd: still parked, KeyError")
    assert lines[1:] == ["core/namespaces/default: is projected again"]
