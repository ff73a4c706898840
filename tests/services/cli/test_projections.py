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


def test_a_parked_object_is_taken_up_again_by_its_key(chronoset: CommandLine, server: Server):
    chronoset(
        "apply", "-f", "-", stdin=b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\ndata: {a: b}\n"
    )
    end = chronoset.end()
    assert chronoset("get", "namespaces", "--at-least", stream_id_of(end)).code == 0
    key = "core/configmaps/default/odd"
    with server.client(db=1) as client:
        name = chronoset.log.cluster
        generation = client.hget(views_key(name), "generation").decode()  # type: ignore[union-attr]
        row = f'{{"position":"{stream_id_of(end)}","type":"ConfigMapCreated","error":"a defect"}}'
        client.delete(in_generation(name, generation, f"changes:{key}"))
        client.hset(in_generation(name, generation, "parked"), key, row)
    assert "chronoset projections retry KEY" in chronoset("projections", "status").err
    done = chronoset("projections", "retry", key)
    assert (done.code, done.out) == (0, f"{key}: is projected again, with 1 events that it missed\n")
    assert chronoset("projections", "status", "-o", "json").json["parked"] == {}
    assert "ConfigMapCreated" in chronoset("describe", "cm", "odd").out
    refused = chronoset("projections", "retry", key)
    assert (refused.code, refused.err) == (2, f"error: KEY: '{key}' is not parked; nothing is\n")
