"""The story: what happens to a StatefulSet in seven steps, and what must be seen after each."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from schemas.event_types import condition_of
from schemas.objects import key_of_object, labels_of, name_of, split_key, uid_of
from schemas.positions import Position, stream_id_of
from schemas.revisions import REVISION_LABEL
from services.clusters import Member
from services.demo.checks import (
    check_identities,
    check_journals,
    check_peer,
    check_processes,
    check_replayed,
    check_survivors,
    check_tale,
    check_whole_log,
    joined,
)
from services.demo.clusters import PATIENCE, wait_for
from services.demo.plays import PODS, RECORDED, SET, SET_KEY, Play, image_of, images_by_number
from services.demo.stages import WrongObservation
from services.demo.tales import (
    ASKED,
    CREATED,
    askers_of,
    replaced,
    started,
    tale_of,
    types_by_people,
)

FIRST, SECOND, CANARY, MISSING, GOOD, LAST = "5.7.2", "5.7.23", "5.7.24", "5.7.99", "5.7.25", "5.7.26"
TAGS = (FIRST, SECOND, CANARY, GOOD, LAST)
"""What the image store holds: every version of the story but the one that is missing."""
MANIFEST = Path(__file__).with_name("db.yaml")
STEPS = (
    "A StatefulSet starts in order, on real processes",
    "A new image: 2, 1, 0, each with its name, address and volume",
    "A canary by partition; a deleted pod comes back on the revision it had",
    "An image that is missing: the rollout stops, and heals with a good one",
    "The history of rollouts, and back to an earlier one",
    "The log remembers: each step again, as it was",
    "kill -9 in the middle of a rollout",
)
_PULL_FAILURES = ("ErrImagePull", "ImagePullBackOff")
_STANDSTILL = 1.5
"""Seconds for which a stopped rollout is watched."""
_IMAGE = "/spec/template/spec/containers/0/image"
_PARTITION = "/spec/updateStrategy/rollingUpdate/partition"
_STATUS = f"kubectl rollout status sts/{SET}"
_VICTIMS = ("worker-1", "dispatcher", "log")


def play_all(play: Play) -> None:
    """Play every step. Raises WrongObservation at the first one that is not as it should be."""
    steps = (start, update, canary, heal, undo, remember, survive)
    for number, (title, step) in enumerate(zip(STEPS, steps, strict=True), 1):
        with play.stage.step(number, title):
            step(play)


def start(play: Play) -> None:
    """Step 1: apply a Service and a StatefulSet; its pods start one after the other."""
    manifest = shlex.quote(str(shutil.copy(MANIFEST, play.cluster.data_dir)))
    before, stage = play.here(), play.stage
    play.run(f"chronoset apply -f {manifest} --wait", f"kubectl apply -f {manifest} && {_STATUS}")
    _look_around(play)
    stage.check("the order in the log", tale_of(play.since(before)), started(*PODS))
    stage.check("versions over HTTP, each on its own address", play.versions(), dict.fromkeys(PODS, FIRST))
    addresses = {name: address for name, (address, _) in play.identities().items()}
    stage.check("addresses", len(set(addresses.values())), len(PODS), joined(addresses))
    check_processes(play)
    check_journals(play, {name: [f"started {FIRST}"] for name in PODS})
    check_peer(play, "db-1", f"db-0.{SET}.default.svc.cluster.local", (addresses["db-0"], FIRST))
    play.record("1: the set has started")


def update(play: Play) -> None:
    """Step 2: a JSON patch of the image; pods are replaced from the highest ordinal down."""
    before, identities = play.here(), play.identities()
    _patch(play, {_IMAGE: f"{SET}:{SECOND}"})
    _look_around(play)
    check_tale(play, before, replaced("db-2", "db-1", "db-0"))
    play.stage.check("versions over HTTP", play.versions(), dict.fromkeys(PODS, SECOND))
    check_identities(play, identities)
    lines = [f"started {FIRST}", f"stopped {FIRST}", f"started {SECOND}"]
    check_journals(play, dict.fromkeys(PODS, lines))
    check_processes(play)
    play.record("2: a new image")


def canary(play: Play) -> None:
    """Step 3: only the pods at and above the partition get the new image; the others keep their revision."""
    before, identities, stage = play.here(), play.identities(), play.stage
    strategy = {"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}}
    patch = shlex.quote(orjson.dumps(strategy).decode())
    play.run(
        f"chronoset patch sts {SET} --type merge -p {patch}",
        f"kubectl patch sts {SET} --type merge -p {patch}",
    )
    _patch(play, {_IMAGE: f"{SET}:{CANARY}"})
    check_tale(play, before, replaced("db-2"))
    versions = {"db-0": SECOND, "db-1": SECOND, "db-2": CANARY}
    stage.check("versions over HTTP", play.versions(), versions)

    before, gone = play.here(), play.uids()["db-0"]
    play.run("chronoset delete pod db-0 --wait", "kubectl delete pod db-0 --wait")
    with stage.busy("db-0 comes back"):
        wait_for(lambda: _is_back(play, "db-0", gone), "db-0 to be Ready again")
    _look_around(play)
    check_tale(play, before, replaced("db-0"))
    kept = next(each for number, each in play.revisions().items() if number == 2)
    label = labels_of(play.pods()["db-0"])[REVISION_LABEL]
    stage.check("db-0 is of the ControllerRevision", label, name_of(kept))
    stage.check("which keeps the image", images_by_number({2: kept})[2], f"{SET}:{SECOND}")
    stage.check("versions over HTTP", play.versions(), versions)
    check_identities(play, identities)
    play.record("3: a canary, and db-0 came back")


def heal(play: Play) -> None:
    """Step 4: a missing tag stops the rollout at the first pod; a good one heals it, nobody deletes a pod."""
    before, stage = play.here(), play.stage
    untouched = {name: uid for name, uid in play.uids().items() if name != "db-2"}
    _patch(play, {_PARTITION: 0, _IMAGE: f"{SET}:{MISSING}"}, wait=False)
    with stage.busy("db-2 cannot start"):
        reason = wait_for(lambda: _pull_failure_of(play, "db-2"), "db-2 to miss its image")
        stage.check("db-2 waits with", reason in _PULL_FAILURES, True, reason)
        time.sleep(_STANDSTILL)
    shown = _look_around(play)
    sentence = play.waiting_for()
    stage.check(
        "the set says that it waits for db-2", "db-2" in sentence and sentence in shown, True, sentence
    )
    check_tale(play, before, [f"db-2 {ASKED}", f"db-2 {CREATED}"])
    found = {name: uid for name, uid in play.uids().items() if name != "db-2"}
    stage.check("untouched, the same uids as before", found, untouched)
    stage.check("versions over HTTP", play.versions(), dict.fromkeys(("db-0", "db-1"), SECOND))
    play.record("4: stopped by a missing image")
    _heal(play)


def _heal(play: Play) -> None:
    before, stage = play.here(), play.stage
    _patch(play, {_IMAGE: f"{SET}:{GOOD}"})
    events = play.since(before)
    check_tale(play, before, replaced("db-2", "db-1", "db-0"))
    stage.check(
        "who asked pods to end",
        askers_of(events),
        dict.fromkeys(("db-2", "db-1", "db-0"), "controller:statefulset"),
    )
    stage.check("all that people wrote", types_by_people(events), ["StatefulSetTemplateChanged"])
    stage.check("versions over HTTP", play.versions(), dict.fromkeys(PODS, GOOD))
    check_processes(play)
    play.record("4: healed by a good image")


def undo(play: Play) -> None:
    """Step 5: the ControllerRevisions, and a return to the third of them, which is renumbered."""
    stage = play.stage
    history = f"rollout history sts/{SET}"
    play.run(f"chronoset {history}", f"kubectl {history}")
    earlier = play.revisions()
    images = [f"{SET}:{version}" for version in (FIRST, SECOND, CANARY, MISSING, GOOD)]
    stage.check("revisions", images_by_number(earlier), dict(enumerate(images, 1)))

    before = play.here()
    play.run(
        f"chronoset rollout undo sts/{SET} --to-revision 3 --wait",
        f"kubectl rollout undo sts/{SET} --to-revision=3 && {_STATUS}",
    )
    play.run(f"chronoset {history}", f"kubectl {history}")
    later = play.revisions()
    stage.check(
        "revisions, as many as before",
        {name_of(each) for each in later.values()},
        {name_of(each) for each in earlier.values()},
        str(len(later)),
    )
    stage.check(
        f"{name_of(earlier[3])} has the number",
        [number for number, each in later.items() if name_of(each) == name_of(earlier[3])],
        [6],
    )
    stage.check("numbers", list(later), [1, 2, 4, 5, 6])
    check_tale(play, before, replaced("db-2", "db-1", "db-0"))
    stage.check("versions over HTTP", play.versions(), dict.fromkeys(PODS, CANARY))
    play.record("5: undone")


def remember(play: Play) -> None:
    """Step 6: the log is folded up to each recorded position; it must give what was seen there then."""
    nothing = "kubectl has none: Kubernetes forgets the past within minutes"
    kinds = ",".join(kind.plural for kind in RECORDED)
    first = stream_id_of(play.moments[0].position)
    play.run(f"chronoset replay --at {first} sts,pods -o wide", nothing)
    for moment in play.moments:
        at = stream_id_of(moment.position)
        ran = play.run(f"chronoset replay --at {at} {kinds} -o json", "kubectl has none", quiet=True)
        objects = {key_of_object(obj): obj for obj in orjson.loads(ran.out)["items"]}
        check_replayed(play, moment, objects)


def survive(play: Play) -> None:
    """Step 7: kill -9 a worker, the dispatcher and the log's server when a rollout has begun."""
    stage, before = play.stage, play.here()
    members = play.cluster.members()
    ours = _patch_command({_IMAGE: f"{SET}:{LAST}"})
    stage.command(f"chronoset {ours}", f"kubectl {ours}")
    call = play.cluster.call(*shlex.split(ours))
    _follow_until_created(play, before, "db-2")
    killed_at, begun = play.here(), time.monotonic()
    _kill(play, members)
    ran = play.cluster.result_of(call)
    stage.check("the patch was acknowledged", ran.code, 0, "yes" if ran.code == 0 else ran.err)
    play.run(f"chronoset rollout status sts/{SET}", _STATUS)
    with stage.busy("the rollout goes on"):
        wait_for(lambda: _runs(play, LAST), "the rollout to finish")
    took = time.monotonic() - begun
    check_survivors(play, members, _VICTIMS)
    check_tale(play, before, replaced("db-2", "db-1", "db-0"))
    left = [what for what in tale_of(play.since(killed_at)) if what.endswith(CREATED)]
    stage.check(
        "it was in the middle: created after the kill", left[-1:], [f"db-0 {CREATED}"], ", ".join(left)
    )
    stage.check(
        "versions over HTTP",
        play.versions(),
        dict.fromkeys(PODS, LAST),
        f"all {LAST}, {took:.1f} s after the kill",
    )
    check_whole_log(play)


def _kill(play: Play, members: Mapping[str, Member]) -> None:
    pids = [process.pid for name in _VICTIMS if (process := members[name].process)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    shown = " ".join(map(str, pids))
    play.stage.command(f"kill -9 {shown}", f"{', '.join(_VICTIMS)}; there: kube-controller-manager, etcd")


def _look_around(play: Play) -> str:
    """Show the set and its pods; return what was shown."""
    return play.run("chronoset get sts,pods -o wide", "kubectl get sts,pods -o wide").out


def _patch(play: Play, values: Mapping[str, Any], wait: bool = True) -> None:
    command = _patch_command(values)
    if wait:
        play.run(f"chronoset {command} --wait", f"kubectl {command} && {_STATUS}")
    else:
        play.run(f"chronoset {command}", f"kubectl {command}")


def _patch_command(values: Mapping[str, Any]) -> str:
    patch = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return f"patch sts {SET} --type json -p {shlex.quote(orjson.dumps(patch).decode())}"


def _is_back(play: Play, name: str, gone: str) -> bool:
    pod = play.pods().get(name)
    return pod is not None and uid_of(pod) != gone and condition_of(pod, "Ready") == "True"


def _pull_failure_of(play: Play, name: str) -> str:
    """Return why a pod's container waits, where that is its image; else nothing."""
    pod = play.pods().get(name, {})
    for status in pod.get("status", {}).get("containerStatuses", ()):
        reason = str(status["state"].get("waiting", {}).get("reason", ""))
        if reason in _PULL_FAILURES:
            return reason
    return ""


def _follow_until_created(play: Play, after: Position, pod: str) -> None:
    """Follow the log until a pod is created. Raises WrongObservation where it is not."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for entry in play.cluster.log.follow(after, 100, 1.0):
            after = entry.position
            if entry.type == "PodCreated" and split_key(entry.key)[2] == pod:
                return
    raise WrongObservation(f"expected {pod} to be created; found no such event within {PATIENCE:.0f} s")


def _runs(play: Play, version: str) -> bool:
    rollout = play.cluster.views.rollout_of(SET_KEY)
    return (
        rollout is not None
        and rollout.done
        and {image_of(pod) for pod in play.pods().values()} == {f"{SET}:{version}"}
    )
