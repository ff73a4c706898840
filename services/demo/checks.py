"""The observations that several steps make, each compared with what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from events.replay import replay
from schemas.errors import Unavailable
from schemas.event_types import condition_of
from schemas.kinds import KINDS, POD
from schemas.objects import Key, Object, key_of_object, name_of
from schemas.positions import Position
from services.clusters import Member
from services.demo.clusters import wait_for
from services.demo.plays import PODS, Moment, Play, image_of
from services.demo.tales import overlaps_of, tale_of, twins_of
from services.demo.witnesses import answer_of


def check_tale(play: Play, since: Position, expected: list[str]) -> None:
    """Check what happened to the pods behind a position, and in which order."""
    play.stage.check("what the log tells", tale_of(play.since(since)), expected)


def check_identities(play: Play, expected: Mapping[str, tuple[str, str]]) -> None:
    """Check that every pod has the address and the volume that it had before."""
    shown = {name: address for name, (address, _) in expected.items()}
    play.stage.check("the same addresses and volumes as before", play.identities(), expected, joined(shown))


def check_journals(play: Play, expected: Mapping[str, list[str]]) -> None:
    """Check what the processes wrote on each pod's volume; `expected` leaves out the uids."""
    journals = {name: [line.rpartition(" ")[0] for line in lines] for name, lines in play.journals().items()}
    shown = f"on each {', '.join(journals[PODS[0]])}" if len(set(map(tuple, journals.values()))) == 1 else ""
    play.stage.check("on the volumes", journals, expected, shown)


def check_processes(play: Play) -> None:
    """Check that /proc has one process for each pod, and none besides."""
    found = play.processes()
    shown = {name: f"pid {pid}" for name, (pid, _) in found.items()}
    play.stage.check("processes in /proc, one a pod and no other", list(found), list(PODS), joined(shown))


def check_peer(play: Play, pod: str, peer: str, expected: tuple[str, str]) -> None:
    """Check that the process of a pod reaches a peer by its name: `expected` is the peer's address and version.

    Names are fresh within a second, so a first answer may be that there is none.
    """
    asked = str(play.pods()[pod]["status"]["podIP"])

    def look() -> Mapping[str, Any] | None:
        with suppress(Unavailable):
            return answer_of(asked, f"/peer?host={peer}:8080")
        return None

    told = wait_for(look, f"{pod} to reach {peer}")
    found = (told["address"], told["answer"]["version"])
    play.stage.check(f"{pod} asks {peer}", found, expected)


def check_replayed(play: Play, moment: Moment, objects: Mapping[Key, Object]) -> None:
    """Check that replayed objects are those recorded, and of the versions that the processes told over HTTP."""
    play.stage.check(
        f"{moment.title}: objects that differ",
        differing(objects, moment.objects),
        [],
        f"none of {len(objects)}",
    )
    pods = [
        obj for obj in objects.values() if obj["kind"] == POD.kind and condition_of(obj, "Ready") == "True"
    ]
    images = {name_of(pod): image_of(pod).partition(":")[2] for pod in pods}
    play.stage.check("the images replayed are the versions that HTTP told then", images, moment.versions)


def check_survivors(play: Play, before: Mapping[str, Member], victims: Sequence[str]) -> None:
    """Check that the processes that were killed are there again, and that no other had to be started again."""
    after = play.cluster.members()
    again = [name for name in before if after[name].process != before[name].process]
    play.stage.check(
        "started again, and nothing else was",
        sorted(again),
        sorted(victims),
        joined({name: f"pid {_pid(after[name])}" for name in victims}),
    )


def check_whole_log(play: Play) -> None:
    """Check the log as a whole against the projections, the processes and the volumes."""
    stage, cluster = play.stage, play.cluster

    position, shown = play.at_rest(KINDS)
    state = replay(cluster.log, position)
    folded = {key_of_object(obj): obj for kind in KINDS for obj in state.list(kind.resource)}
    events = play.since(0)
    stage.check(
        f"{len(events)} events folded anew, against the projections: objects that differ",
        differing(folded, shown),
        [],
        f"none of {len(folded)}",
    )
    stage.check("ordinals that had two pods at once, by the log", twins_of(events), [])
    stage.check(
        "ordinals that had two processes at once, by what they wrote", overlaps_of(play.journals()), []
    )
    check_processes(play)


def differing(one: Mapping[Key, Object], other: Mapping[Key, Object]) -> list[Key]:
    """Return the keys whose objects differ in anything."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def joined(values: Mapping[str, Any]) -> str:
    """Return values by name on one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _pid(member: Member) -> int | None:
    return member.process.pid if member.process else None
