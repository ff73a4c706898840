"""Random walks of DaemonSets over nodes that join, die, return, are relabelled, tainted, cordoned and removed."""

from __future__ import annotations

import random

import pytest

from events.replica import Applied
from events.state import State
from schemas.changes import Create, Replace
from schemas.daemon_pods import target_node_of, with_tolerations
from schemas.objects import Object, is_terminating, labels_of, name_of, uid_of, with_fields
from schemas.percentages import scaled_up
from schemas.revisions import REVISION_LABEL, template_of
from schemas.times import parse_rfc3339
from services.controllers.daemonset.placing import down_since, fit_of
from tests.events.oracle import naive_fold
from tests.events.worlds import with_image
from tests.walks.clusters import is_ready, owned_pods, replayed
from tests.walks.fleets import SETS, FleetCluster, a_set, daemon_key, daemons_of

STEPS = 250


def act(cluster: FleetCluster, dice: random.Random) -> None:
    """A person does something."""
    name = dice.choice(SETS)
    found = cluster.get(daemon_key(name))
    if found is None:
        cluster.try_commit(Create(a_set(name, dice)))
        return
    match dice.randrange(8):
        case 0 | 1 | 2:
            cluster.try_commit(Replace(found, with_image(found, f"{name}:{dice.randrange(3)}")))
        case 3:
            strategy = a_set(name, dice)["spec"]["updateStrategy"]
            cluster.try_commit(
                Replace(found, with_fields(found, spec={**found["spec"], "updateStrategy": strategy}))
            )
        case 4 | 5:
            if pods := owned_pods(cluster.state, found):
                cluster.delete(f"core/pods/default/{name_of(dice.choice(pods))}")
        case 6:
            revisions = [each for each in cluster.state.owned_by(uid_of(found)) if each["kind"] != "Pod"]
            if revisions:
                cluster.try_commit(Replace(found, _with_template(found, template_of(dice.choice(revisions)))))
        case _ if dice.random() < 0.5:
            cluster.delete(daemon_key(name))


def _with_template(workload: Object, template: Object) -> Object:
    return with_fields(workload, spec={**workload["spec"], "template": template})


def step(cluster: FleetCluster, dice: random.Random) -> None:
    match dice.randrange(20):
        case 0:
            act(cluster, dice)
        case 1 | 2:
            cluster.befall(dice)
        case 3:
            cluster.pass_time(dice.choice([100, 2_000, 20_000]))
        case 4:
            cluster.mark_all()
        case 5 | 6 | 7 | 8 | 9 | 10:
            cluster.step_kubelet()
        case _:
            cluster.step_worker()


class Watch:
    """Checks each append by the state right before it, and budgets by the state in which it was decided: a node that
    joins in between has no pod yet, which is nobody's fault."""

    def __init__(self, cluster: FleetCluster) -> None:
        self.cluster = cluster
        self.before = cluster.state.copy()
        self.decided = self.before
        self.events = len(cluster.seen)
        cluster.log.deciding = lambda: cluster.state.copy()
        self.created = self.surged = self.disrupted = 0
        cluster.log.appended = self.look

    def look(self, decided: State) -> None:
        self.decided = decided
        state = self.cluster.state
        batch = self.cluster.seen[self.events :]
        ours = [each for each in batch if each.event.actor.name == "controller:daemonset"]
        for applied in ours:
            if applied.event.key.startswith("core/pods/"):
                self.check_pod(applied, state)
        self.check_budgets(ours)
        self.events = len(self.cluster.seen)
        self.before = state.copy()

    def check_pod(self, applied: Applied, state: State) -> None:
        event, pod = applied.event, applied.new if applied.new is not None else applied.old
        assert pod is not None
        workload = self.before.get(daemon_key(_owner_of(pod)))
        assert workload is not None and not is_terminating(workload), "a set that is gone is left alone"
        assert event.type != "PodBound", "the scheduler binds, never the controller"
        if event.op != "create":
            return
        name = target_node_of(pod)
        node = self.before.get(f"core/nodes/{name}")
        assert "nodeName" not in pod["spec"]
        assert node is not None and fits(workload, node).runs, (
            "a pod is never made for a node that does not fit"
        )
        self.created += 1
        others = [
            each
            for each in daemons_of(self.before.list("core/pods"), workload, name)
            if name_of(each) in names_in(state) and not (is_terminating(each) and is_ended(each))
        ]
        if surge_of(workload) in (0, "0%"):
            assert not others, "without surge one pod at a time, terminating ones counted"
            return
        alive = [each for each in others if not is_terminating(each) and not is_ended(each)]
        self.surged += bool(alive)
        assert len(alive) <= 1, "with surge no more than two"
        assert all(labels_of(each)[REVISION_LABEL] != labels_of(pod)[REVISION_LABEL] for each in alive)

    def check_budgets(self, ours: list[Applied]) -> None:
        """A pod that counted as available is taken away only within the budget, by Kubernetes' count."""
        leaving: dict[str, list[Object]] = {}
        for applied in ours:
            old = applied.old
            if applied.event.type == "PodDeletionRequested" and old is not None and is_ready(old):
                leaving.setdefault(_owner_of(old), []).append(old)
        for owner, pods in leaving.items():
            workload = self.before.get(daemon_key(owner))
            assert workload is not None
            self.check_budget(workload, pods)

    def check_budget(self, workload: Object, leaving: list[Object]) -> None:
        nodes = {name_of(node): node for node in self.decided.list("core/nodes")}
        pods = self.decided.list("core/pods")
        fitting = {name for name, node in nodes.items() if fits(workload, node).runs}
        disrupted = [
            pod
            for pod in leaving
            if target_node_of(pod) in fitting
            and self.is_available(workload, pod)
            and len([each for each in daemons_of(pods, workload, target_node_of(pod)) if is_live(each)]) == 1
        ]
        if not disrupted:
            return
        self.disrupted += 1
        strategy = workload["spec"]["updateStrategy"]
        assert strategy["type"] == "RollingUpdate", "under OnDelete nobody but a person deletes"
        assert surge_of(workload) in (0, "0%"), "with surge nothing goes before its successor is there"
        budget = scaled_up(strategy["rollingUpdate"]["maxUnavailable"], len(fitting))
        gone = {uid_of(pod) for pod in disrupted}
        without = [
            name
            for name in fitting
            if not any(
                self.is_available(workload, pod) and uid_of(pod) not in gone
                for pod in daemons_of(pods, workload, name)
                if is_live(pod)
            )
        ]
        began = self.began(workload)
        excused = [
            name for name in without if (since := down_since(nodes[name])) is not None and since <= began
        ]
        assert len(without) - len(excused) <= budget, "no more nodes without an available pod than allowed"

    def began(self, workload: Object) -> int:
        """When the present template became the one to run, by its revision."""
        for revision in self.decided.owned_by(uid_of(workload)):
            if revision["kind"] != "Pod" and template_of(revision) == workload["spec"]["template"]:
                return int(revision["metadata"]["resourceVersion"]) >> 20
        return 0

    def is_available(self, workload: Object, pod: Object) -> bool:
        if not is_ready(pod):
            return False
        since = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")[
            "lastTransitionTime"
        ]
        return bool(
            parse_rfc3339(since) + workload["spec"].get("minReadySeconds", 0) * 1000 <= self.cluster.now
        )


def fits(workload: Object, node: Object):  # type: ignore[no-untyped-def]
    return fit_of(with_tolerations(workload["spec"]["template"]["spec"]), node)


def surge_of(workload: Object) -> int | str:
    surge: int | str = workload["spec"]["updateStrategy"].get("rollingUpdate", {}).get("maxSurge", 0)
    return surge


def is_ended(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Failed", "Succeeded")


def is_live(pod: Object) -> bool:
    return not is_terminating(pod) and not is_ended(pod)


def names_in(state: State) -> set[str]:
    return {name_of(pod) for pod in state.list("core/pods")}


def _owner_of(pod: Object) -> str:
    return name_of(pod).rpartition("-")[0]


def check_rest(cluster: FleetCluster) -> None:
    """What must hold once everything has come to rest, all nodes being up."""
    state = cluster.state
    for name in SETS:
        workload = state.get(daemon_key(name))
        if workload is None:
            continue
        pods = owned_pods(state, workload)
        status, rolling = workload["status"], workload["spec"]["updateStrategy"]["type"] == "RollingUpdate"
        nodes = state.list("core/nodes")
        fitting = {name_of(node) for node in nodes if fits(workload, node).runs}
        staying = {name_of(node) for node in nodes if fits(workload, node).stays}
        there = [target_node_of(pod) for pod in pods]
        assert len(there) == len(set(there)), "one pod a node"
        assert fitting <= set(there) <= staying, (
            "on every node that fits, and on none that it may not stay on"
        )
        assert all(pod["spec"].get("nodeName") == target_node_of(pod) for pod in pods)
        on_fitting = [pod for pod in pods if target_node_of(pod) in fitting]
        images = [pod["spec"]["containers"][0]["image"] for pod in on_fitting]
        wanted = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        assert not rolling or set(images) <= {wanted}, "updated"
        assert status == {
            key: value
            for key, value in {
                "observedGeneration": workload["metadata"]["generation"],
                "desiredNumberScheduled": len(fitting),
                "currentNumberScheduled": len(fitting),
                "numberMisscheduled": len(pods) - len(fitting),
                "numberReady": sum(map(is_ready, on_fitting)),
                "numberAvailable": len(fitting),
                "updatedNumberScheduled": status.get("updatedNumberScheduled", 0),
                "collisionCount": status.get("collisionCount", 0),
            }.items()
            if value
            or key
            in ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
        }
        assert not rolling or status.get("updatedNumberScheduled", 0) == len(fitting)
    assert replayed(cluster.log).objects == state.objects == naive_fold(cluster.log.read(0, 1 << 20))


def walk(seed: int, steps: int = STEPS) -> tuple[FleetCluster, Watch]:
    dice = random.Random(f"fleet {seed}")
    cluster = FleetCluster(seed)
    watch = Watch(cluster)
    cluster.wander(lambda: step(cluster, dice), steps, dice)
    cluster.heal()
    cluster.settle()
    check_rest(cluster)
    return cluster, watch


@pytest.mark.parametrize("seed", range(8))
def test_the_rules_hold_on_every_walk(seed: int) -> None:
    walk(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_the_rules_hold_on_many_walks(seed: int) -> None:
    walk(seed, 400)


def test_walks_do_what_they_are_for() -> None:
    """A walk that meets nothing proves nothing."""
    types: set[str] = set()
    created = surged = disrupted = conflicts = 0
    for seed in range(8, 16):
        cluster, watch = walk(seed)
        types |= {applied.event.type for applied in cluster.seen}
        created, surged = created + watch.created, surged + watch.surged
        disrupted += watch.disrupted
        conflicts += sum(worker.conflicts for worker in cluster.workers)
    assert types >= {
        "DaemonSetCreated", "DaemonSetTemplateChanged", "DaemonSetStrategyChanged", "DaemonSetDeleted", "PodCreated",
        "PodBound", "PodReady", "PodFailed", "PodDeletionRequested", "PodDeleted", "NodeCreated", "NodeReady",
        "NodeNotReady", "NodeDeleted", "NodeSpecChanged", "NodeMetadataChanged", "ControllerRevisionRenumbered",
        "ControllerRevisionDeleted",
    }  # fmt: skip
    assert min(created, surged, disrupted, conflicts) > 0
