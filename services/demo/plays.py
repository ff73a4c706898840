"""One performance: the demo's cluster, the stage, and what was recorded of each step for the replay."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from events.replay import events_between
from schemas.envelopes import Event
from schemas.event_types import condition_of
from schemas.kinds import CLAIM, CONTROLLER_REVISION, POD, STATEFUL_SET, VOLUME, Kind
from schemas.objects import Key, Object, key_of, key_of_object, name_of, uid_of
from schemas.positions import Position
from schemas.revisions import template_of
from services.demo.clusters import Cluster, Ran, wait_for
from services.demo.stages import Stage, WrongObservation
from services.demo.witnesses import answer_of, containers_in_proc, journal_of

NAMESPACE = "default"
SET = "db"
SET_KEY = key_of(STATEFUL_SET.resource, NAMESPACE, SET)
PODS = tuple(f"{SET}-{ordinal}" for ordinal in range(3))
RECORDED = (STATEFUL_SET, POD, CONTROLLER_REVISION, CLAIM)
"""The kinds whose objects a moment records."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What was there at a position: the objects as the projections showed them, the versions as HTTP told them."""

    title: str
    position: Position
    objects: Mapping[Key, Object]
    versions: Mapping[str, str]


@dataclass
class Play:
    """What the steps act on and look at."""

    cluster: Cluster
    stage: Stage
    moments: list[Moment] = field(default_factory=list)

    def run(self, ours: str, kubectl: str, quiet: bool = False) -> Ran:
        """Run `chronoset ...` as a process and show it with what it printed. Raises WrongObservation unless it is 0."""
        self.stage.command(ours, kubectl)
        arguments = shlex.split(ours)[1:]
        with self.stage.busy(f"chronoset {arguments[0]}"):
            ran = self.cluster.result_of(self.cluster.call(*arguments))
        if ran.code:
            raise WrongObservation(f"{ours}: expected exit code 0; found {ran.code}: {ran.err or ran.out}")
        if not quiet:
            self.stage.output(ran.out)
        return ran

    def here(self) -> Position:
        """Return the log's end."""
        return self.cluster.log.last()

    def since(self, position: Position) -> list[Event]:
        """Return the events behind a position."""
        return list(events_between(self.cluster.log, position, self.here()))

    def pods(self) -> dict[str, Object]:
        """Return the set's pods by name, from the projections."""
        return {name_of(pod): pod for pod in self._listed(POD.resource)}

    def revisions(self) -> dict[int, Object]:
        """Return the set's ControllerRevisions by number."""
        found = {int(each["revision"]): each for each in self._listed(CONTROLLER_REVISION.resource)}
        return dict(sorted(found.items()))

    def waiting_for(self) -> str:
        """Return the sentence that says what the set waits for; empty where it waits for nothing."""
        found = self.cluster.views.waiting().get(("statefulset", SET_KEY))
        return found.text if found else ""

    def uids(self) -> dict[str, str]:
        return {name: uid_of(pod) for name, pod in self.pods().items()}

    def versions(self) -> dict[str, str]:
        """Return the version that each running pod tells over HTTP; it must tell its own uid as well."""
        told = {}
        for name, pod in self.pods().items():
            if condition_of(pod, "Ready") != "True":
                continue
            answer = answer_of(pod["status"]["podIP"])
            if (answer["pod"], answer["uid"]) != (name, uid_of(pod)):
                raise WrongObservation(f"{name}: expected the pod {uid_of(pod)} to answer; found {answer}")
            told[name] = str(answer["version"])
        return told

    def identities(self) -> dict[str, tuple[str, str]]:
        """Return each pod's address and volume."""
        claims = {name_of(each): each["spec"]["volumeName"] for each in self._listed(CLAIM.resource)}
        return {name: (pod["status"]["podIP"], claims[_claim_of(pod)]) for name, pod in self.pods().items()}

    def journals(self) -> dict[str, list[str]]:
        """Return what stands on each pod's volume: `started VERSION UID`, `stopped VERSION UID`."""
        volumes = {name_of(each): each for each in self.cluster.views.list(VOLUME.resource)}
        return {
            name: journal_of(self.cluster.data_dir, volumes[volume])
            for name, (_, volume) in self.identities().items()
        }

    def processes(self) -> dict[str, tuple[int, str]]:
        """Return the pid and container of every process in /proc that runs a container here, by pod.

        Raises WrongObservation where these are not exactly the containers that run by the projections.
        """
        seen = containers_in_proc(self.cluster.data_dir)
        told = {
            status["containerID"]: name
            for name, pod in self.pods().items()
            for status in pod["status"].get("containerStatuses", ())
            if "running" in status["state"]
        }
        if seen.keys() != told.keys():
            raise WrongObservation(
                f"processes in /proc: expected the containers {sorted(told)}; found {sorted(seen)}"
            )
        return {name: (seen[container], container) for container, name in told.items()}

    def at_rest(self, kinds: Iterable[Kind]) -> tuple[Position, dict[Key, Object]]:
        """Return all objects of these kinds at one position, the log's end, as the projections show them."""

        def look() -> tuple[Position, dict[Key, Object]] | None:
            views = self.cluster.views
            position = views.position()
            objects = {key_of_object(obj): obj for kind in kinds for obj in views.list(kind.resource)}
            return (position, objects) if position == views.position() == self.here() else None

        return wait_for(look, "the projections to reach the log's end")

    def record(self, title: str) -> Moment:
        """Record what is there now, for the replay."""
        position, objects = self.at_rest(RECORDED)
        moment = Moment(title, position, objects, self.versions())
        self.moments.append(moment)
        return moment

    def _listed(self, resource: str) -> Sequence[Object]:
        return sorted(self.cluster.views.list(resource, NAMESPACE), key=name_of)


def image_of(template: Object) -> str:
    """Return the image of a pod's, or a template's, one container."""
    return str(template["spec"]["containers"][0]["image"])


def images_by_number(revisions: Mapping[int, Object]) -> dict[int, str]:
    """Return the image that each revision keeps."""
    return {number: image_of(template_of(each)) for number, each in revisions.items()}


def _claim_of(pod: Object) -> str:
    return next(
        str(volume["persistentVolumeClaim"]["claimName"])
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    )
