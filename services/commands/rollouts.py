"""Rollouts as people steer and watch them: back to an earlier revision, once more, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.changes import Replace
from schemas.counts import counted
from schemas.errors import BadRequest
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, WORKLOADS
from schemas.objects import Key, Object, name_of, namespace_of, split_key, uid_of
from schemas.revisions import go_json, revision_data, revisions_of, template_of
from schemas.times import Milliseconds, rfc3339
from services.commands.commands import Restart, Undo
from services.commands.sources import Sources, existing, subject_of

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
CHANGE_CAUSE = "kubernetes.io/change-cause"
_WORKLOADS = tuple(kind.resource for kind in WORKLOADS)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is: `message` is a sentence in the words of `kubectl rollout status`."""

    complete: bool
    message: str


def existing_workload(sources: Sources, key: Key) -> Object:
    """Return the workload under `key`. Raises BadRequest for a kind without rollouts, NotFound."""
    if split_key(key)[0] not in _WORKLOADS:
        raise BadRequest(f"{subject_of(key)} has no rollout; name a statefulset or a daemonset")
    return existing(sources, key)


def history(sources: Sources, workload: Object) -> list[Object]:
    """Return the workload's revisions that exist now, oldest first."""
    return revisions_of(workload, sources.list(CONTROLLER_REVISION.resource, namespace_of(workload)))


def decide_undo(command: Undo, sources: Sources) -> Replace:
    """Return the change that gives a workload the template of an earlier revision (kubectl rollout undo).

    The commit then derives: a revision that still exists is renumbered, a truncated one is made again. Raises
    BadRequest where there is no earlier revision, or none of the number asked for.
    """
    workload = existing_workload(sources, command.key)
    if command.to_revision is None:
        target = _latest_earlier(command.key, workload, sources)
    else:
        target = _numbered(command.key, workload, command.to_revision, sources)
    return Replace(workload, _with_template(workload, template_of(target)))


def decide_restart(command: Restart, sources: Sources, now: Milliseconds) -> Replace:
    """Return the change that marks a workload's template, so that all its pods are replaced."""
    workload = existing_workload(sources, command.key)
    template = workload["spec"]["template"]
    metadata = template.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), RESTARTED_AT: rfc3339(now)}
    return Replace(
        workload, _with_template(workload, {**template, "metadata": {**metadata, "annotations": annotations}})
    )


def progress_of(workload: Object) -> Progress:
    """Conclude how far a rollout is (kubectl pkg/polymorphichelpers/rollout_status.go).

    Under OnDelete, which that command refuses, nothing is rolled out: complete once every replica is ready.
    """
    return _daemon_set_progress(workload) if workload["kind"] == DAEMON_SET.kind else _set_progress(workload)


def _latest_earlier(key: Key, workload: Object, sources: Sources) -> Object:
    """Return the revision with the highest number among those with another template than the present."""
    present = go_json(revision_data(workload)[0])
    known = {name_of(each): each for each in sources.kept_revisions(uid_of(workload))}
    known.update({name_of(each): each for each in history(sources, workload)})
    earlier = [each for each in known.values() if go_json(each["data"]) != present]
    if not earlier:
        raise BadRequest(f"{subject_of(key)}: there is no earlier revision to return to")
    return max(earlier, key=lambda revision: int(revision["revision"]))


def _numbered(key: Key, workload: Object, number: int, sources: Sources) -> Object:
    """Return the revision of a number: the one that has it, else the last that had it."""
    revisions = history(sources, workload)
    for revision in revisions:
        if revision["revision"] == number:
            return revision
    kept = sources.kept_revision(uid_of(workload), number)
    if kept is not None:
        return kept
    numbers = {int(each["revision"]) for each in [*revisions, *sources.kept_revisions(uid_of(workload))]}
    known = ", ".join(map(str, sorted(numbers))) or "none"
    raise BadRequest(f"{subject_of(key)}: --to-revision: {number} was never its revision; known are {known}")


def _with_template(workload: Object, template: Object) -> Object:
    return {**workload, "spec": {**workload["spec"], "template": template}}


def _set_progress(workload: Object) -> Progress:
    spec, status = workload["spec"], workload.get("status") or {}
    replicas, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    updated = status.get("updatedReplicas", 0)
    strategy = spec.get("updateStrategy") or {}
    if _is_unobserved(workload):
        return Progress(False, "waiting for the change to be observed by the controller")
    if ready < replicas:
        return Progress(False, f"waiting for {counted(replicas - ready, 'pod')} to be ready")
    if strategy.get("type") == "OnDelete":
        return Progress(True, f"{counted(replicas, 'pod')} ready; OnDelete updates a pod when it is deleted")
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    if partition > 0:
        wanted = max(replicas - partition, 0)
        if updated < wanted:
            return Progress(
                False,
                f"waiting for the partitioned roll out: {updated} of {counted(wanted, 'new pod')} updated",
            )
        return Progress(True, f"partitioned roll out complete: {counted(updated, 'new pod')} updated")
    revision = status.get("updateRevision", "")
    if revision != status.get("currentRevision", ""):
        return Progress(
            False, f"waiting for the rolling update: {counted(updated, 'pod')} at revision {revision}"
        )
    return Progress(True, f"rolling update complete: {counted(replicas, 'pod')} at revision {revision}")


def _daemon_set_progress(workload: Object) -> Progress:
    status = workload.get("status") or {}
    desired, available = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    updated = status.get("updatedNumberScheduled", 0)
    on_delete = (workload["spec"].get("updateStrategy") or {}).get("type") == "OnDelete"
    if _is_unobserved(workload):
        return Progress(False, "waiting for the change to be observed by the controller")
    if updated < desired and not on_delete:
        return Progress(
            False, f"waiting for the rolling update: {updated} of {counted(desired, 'pod')} updated"
        )
    if available < desired:
        return Progress(False, f"waiting for pods: {available} of {desired} are available")
    return Progress(
        True, f"daemon set {name_of(workload)} is rolled out: {counted(desired, 'pod')} available"
    )


def _is_unobserved(workload: Object) -> bool:
    observed = (workload.get("status") or {}).get("observedGeneration", 0)
    return bool(workload["metadata"].get("generation", 0) > observed)
