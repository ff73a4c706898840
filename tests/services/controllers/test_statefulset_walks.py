"""Random walks: pods fail, nodes lag, people change their minds, and the invariants hold after every decision.

The invariants are written against raw objects and know nothing of how the controller decides.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from schemas.changes import Create, Decision, Delete, Replace
from schemas.objects import Object, labels_of, name_of, uid_of
from schemas.times import parse_rfc3339
from services.controllers.statefulset import View
from services.controllers.statefulset.census import Census
from tests.services.controllers.clusters import BAD, KEY, Cluster, a_set, rolling

SEEDS = range(12)
STEPS = 60
LONG = range(1000, 1400)

STRATEGIES: dict[str, Object] = {
    "rolling": rolling(),
    "partition": rolling(partition=2),
    "three at once": rolling(maxUnavailable=3),
    "bare": {"type": "RollingUpdate"},
    "on delete": {"type": "OnDelete"},
}


def ordinal(name: str) -> int:
    return int(name.rpartition("-")[2])


def is_ready(pod: Object | None) -> bool:
    if pod is None or "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] != "Running":
        return False
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ())
    )


def is_available(pod: Object | None, cluster: Cluster) -> bool:
    """Ready for long enough; the clusters of these walks count whole seconds."""
    if pod is None or not is_ready(pod):
        return False
    patience = cluster.set["spec"].get("minReadySeconds", 0)
    since = next(
        each["lastTransitionTime"] for each in pod["status"]["conditions"] if each["type"] == "Ready"
    )
    return parse_rfc3339(since) + patience * 1000 <= cluster.now


def budget_of(most: int | str, replicas: int) -> int:
    """How many may be unavailable; a percentage rounds down, and one always may."""
    return max(int(most[:-1]) * replicas // 100 if isinstance(most, str) else most, 1)


@dataclass
class Effect:
    """What a decision does to pods, read from its changes."""

    created: list[Object]
    deleted: list[Object]

    @staticmethod
    def of(decision: Decision) -> Effect:
        effect = Effect([], [])
        for change in decision.changes:
            match change:
                case Create(obj) if obj["kind"] == "Pod":
                    effect.created.append(obj)
                case Delete(old) if old["kind"] == "Pod":
                    effect.deleted.append(old)
                case Replace(old, new) if old["kind"] == "Pod" and "deletionTimestamp" in new["metadata"]:
                    effect.deleted.append(old)
        return effect


class Invariants:
    """Asserted of every decision, against the state it was decided upon."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.was_ready: set[str] = set()

    def __call__(self, view: View, decision: Decision) -> None:
        assert view == Census().view_of(self.cluster.world.state, KEY), "what is remembered is what is there"
        spec = self.cluster.set["spec"]
        self.pods = self.cluster.pods
        self.was_ready |= {uid_of(pod) for pod in self.pods.values() if is_ready(pod)}
        self.start = spec.get("ordinals", {}).get("start", 0)
        self.names = [f"db-{self.start + index}" for index in range(spec["replicas"])]
        strategy = spec["updateStrategy"]
        self.is_rolling = strategy["type"] == "RollingUpdate"
        self.has_rolling_update = "rollingUpdate" in strategy
        self.partition = strategy.get("rollingUpdate", {}).get("partition", 0)
        self.budget = budget_of(strategy.get("rollingUpdate", {}).get("maxUnavailable", 1), spec["replicas"])
        self.is_ordered = spec["podManagementPolicy"] == "OrderedReady"
        effect = Effect.of(decision)
        self.a_pod_is_created_once(effect)
        self.ordered_creation_waits_for_all_below(effect)
        self.ordered_deletion_is_one_at_a_time_and_from_the_top(effect)
        self.updates_stay_within_the_budget(effect)
        self.new_pods_have_the_revision_of_their_place(effect)
        self.good_pods_below_the_partition_stay(effect)
        self.a_pod_that_was_ready_once_is_waited_for(effect)
        self.waiting_is_explained(decision)

    def available(self, name: str) -> bool:
        return is_available(self.pods.get(name), self.cluster)

    def a_pod_is_created_once(self, effect: Effect) -> None:
        created = [name_of(pod) for pod in effect.created]
        assert len(set(created)) == len(created)
        assert not set(created) & set(self.pods)
        assert set(created) <= set(self.names)

    def ordered_creation_waits_for_all_below(self, effect: Effect) -> None:
        if self.is_ordered and effect.created:
            (pod,) = effect.created
            below = self.names[: self.names.index(name_of(pod))]
            assert all(map(self.available, below)), f"{name_of(pod)} before {below}"

    def ordered_deletion_is_one_at_a_time_and_from_the_top(self, effect: Effect) -> None:
        condemned = [pod for pod in effect.deleted if name_of(pod) not in self.names]
        if self.is_ordered and condemned:
            (pod,) = effect.deleted
            assert not effect.created
            assert all(map(self.available, self.names))
            others = [name for name in self.pods if name not in self.names]
            assert ordinal(name_of(pod)) == max(map(ordinal, others))

    def updates_stay_within_the_budget(self, effect: Effect) -> None:
        taken = [name_of(pod) for pod in effect.deleted if name_of(pod) in self.names and is_ready(pod)]
        if not taken:
            return
        assert self.is_rolling, "OnDelete takes no pod that is ready"
        missing = [name for name in self.names if not self.available(name)]
        charged = [name for name in taken if self.available(name)]
        if self.is_ordered:
            assert not missing
        if charged:
            assert len(missing) + len(charged) <= self.budget
        update = self.update()
        outdated = [
            name
            for name in self.names[self.partition :]
            if self.available(name) and labels_of(self.pods[name])["controller-revision-hash"] != update
        ]
        assert sorted(charged, key=ordinal) == outdated[len(outdated) - len(charged) :], "from the top down"

    def update(self) -> str:
        """The name of the newest revision: the walks make no revisions by hand."""
        found = self.cluster.world.list("apps/controllerrevisions", "default")
        return name_of(max(found, key=lambda each: each["revision"]))

    def new_pods_have_the_revision_of_their_place(self, effect: Effect) -> None:
        update, current = self.update(), self.cluster.status.get("currentRevision", self.update())
        for pod in effect.created:
            index = self.names.index(name_of(pod))
            below = self.is_rolling and self.has_rolling_update and index < self.partition
            expected = {current} if below else {update}
            if self.is_rolling and not self.has_rolling_update:
                expected.add(current)
            assert labels_of(pod)["controller-revision-hash"] in expected

    def good_pods_below_the_partition_stay(self, effect: Effect) -> None:
        for pod in effect.deleted:
            if name_of(pod) in self.names[: self.partition] and pod["status"]["phase"] in (
                "Pending",
                "Running",
            ):
                assert self.is_rolling
                assert uid_of(pod) not in self.was_ready

    def a_pod_that_was_ready_once_is_waited_for(self, effect: Effect) -> None:
        for pod in effect.deleted:
            runs = pod["status"]["phase"] in ("Pending", "Running") and not is_ready(pod)
            if self.is_ordered and runs and name_of(pod) in self.names:
                assert uid_of(pod) not in self.was_ready

    def waiting_is_explained(self, decision: Decision) -> None:
        if not all(map(self.available, self.names)) or len(self.pods) > len(self.names):
            assert decision.waiting_for


def recount(cluster: Cluster) -> Object:
    """The status counted anew from the pods, naively."""
    pods = cluster.pods.values()
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    hashes = [labels_of(pod)["controller-revision-hash"] for pod in staying]
    ready = [
        pod
        for pod in pods
        if pod["status"]["phase"] == "Running"
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    ]
    status = cluster.status
    return {
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "currentReplicas": hashes.count(status["currentRevision"]),
        "updatedReplicas": hashes.count(status["updateRevision"]),
    }


def walk(seed: int, policy: str, strategy: str) -> None:
    dice = random.Random(seed)
    workload = a_set(
        replicas=dice.randint(1, 5),
        podManagementPolicy=policy,
        updateStrategy=STRATEGIES[strategy],
        minReadySeconds=dice.choice([0, 0, 5]),
        revisionHistoryLimit=dice.choice([0, 2, 10]),
    )
    cluster = Cluster(workload)
    cluster.check = Invariants(cluster)
    for _ in range(dice.randint(0, 20)):
        disturb_gently(cluster, dice)
    for _ in range(STEPS):
        dice.choice((disturb, disturb_gently, disturb_gently))(cluster, dice)
        if dice.random() < 0.7:
            cluster.step()
            told = {name: cluster.status.get(name, 0) for name in recount(cluster)}
            assert told == recount(cluster)
    come_to_rest(cluster, strategy)


def disturb(cluster: Cluster, dice: random.Random) -> None:
    """Something that a person does, or that goes wrong."""
    pods = list(cluster.pods)
    name = dice.choice(pods) if pods else ""
    match dice.randrange(9):
        case 0:
            cluster.edit(replicas=dice.randint(0, 6))
        case 1 | 2:
            cluster.set_image(dice.choice(["db:1", "db:2", "db:3", BAD]))
        case 3 if cluster.set["spec"]["updateStrategy"].get("rollingUpdate"):
            rolling_update = cluster.set["spec"]["updateStrategy"]["rollingUpdate"]
            cluster.edit(updateStrategy=rolling(**{**rolling_update, "partition": dice.randint(0, 4)}))
        case 4 if name:
            cluster.delete(name, dice.choice([None, 0]))
        case 5 if name and "nodeName" in cluster.pods[name]["spec"]:
            cluster.fail(name)
        case 6 if name and is_ready(cluster.pods[name]):
            cluster.set_status(name, "Running", "False")
        case 7:
            cluster.edit(ordinals={"start": dice.randint(0, 2)})
        case 8 if cluster.set["spec"]["updateStrategy"].get("rollingUpdate"):
            rolling_update = cluster.set["spec"]["updateStrategy"]["rollingUpdate"]
            most = dice.choice([1, 2, 3, "34%", "50%", "100%"])
            cluster.edit(updateStrategy=rolling(**{**rolling_update, "maxUnavailable": most}))


def disturb_gently(cluster: Cluster, dice: random.Random) -> None:
    """The cluster at work: a node does the next thing, or time passes."""
    pods = list(cluster.pods)
    if pods and dice.random() < 0.8:
        name = dice.choice(pods)
        pod = cluster.pods[name]
        if not cluster.work(name) and pod["status"]["phase"] == "Running" and not is_ready(pod):
            cluster.set_status(name, "Running", "True")
    else:
        cluster.pass_time(dice.choice([1, 7, 70]))
    cluster.step()


def come_to_rest(cluster: Cluster, strategy: str) -> None:
    """With a good image and no more faults the set reaches its target, whatever happened before.

    As in Kubernetes a person has to help where OnDelete keeps a pod that cannot start, and where several condemned
    pods are unhealthy, each waiting for the other.
    """
    cluster.set_image("db:9")
    cluster.edit(replicas=3)
    if image_of(cluster, cluster.status.get("currentRevision", "")) == BAD:
        cluster.edit(updateStrategy=STRATEGIES["rolling"])
    for _ in range(60):
        cluster.run()
        for name, pod in cluster.pods.items():
            if pod["status"]["phase"] == "Running" and not is_ready(pod):
                cluster.set_status(name, "Running", "True")
            elif not is_ready(pod) and (strategy == "on delete" or name in condemned(cluster)):
                cluster.delete(name, 0)
        cluster.pass_time(1000)
        if not cluster.run() and all(is_available(pod, cluster) for pod in cluster.pods.values()):
            break
    start = cluster.set["spec"].get("ordinals", {}).get("start", 0)
    assert list(cluster.pods) == [f"db-{start + index}" for index in range(3)], cluster.decisions[
        -1
    ].waiting_for
    assert all(is_available(pod, cluster) for pod in cluster.pods.values()), cluster.decisions[-1].waiting_for
    assert not cluster.step().changes
    partition = cluster.set["spec"]["updateStrategy"].get("rollingUpdate", {}).get("partition", 0)
    if strategy != "on delete":
        images = [*cluster.images().values()][partition:]
        assert images == ["db:9"] * len(images)
        if not partition:
            assert cluster.status["currentRevision"] == cluster.status["updateRevision"]
            assert cluster.decisions[-1].waiting_for == ""


def condemned(cluster: Cluster) -> set[str]:
    spec = cluster.set["spec"]
    start = spec.get("ordinals", {}).get("start", 0)
    return set(cluster.pods) - {f"db-{start + index}" for index in range(spec["replicas"])}


def image_of(cluster: Cluster, revision: str) -> str:
    found = cluster.world.get(f"apps/controllerrevisions/default/{revision}")
    return str(found["data"]["spec"]["template"]["spec"]["containers"][0]["image"]) if found else ""


CASES: list[Any] = [
    pytest.param(policy, strategy, id=f"{policy}, {strategy}")
    for policy in ("OrderedReady", "Parallel")
    for strategy in STRATEGIES
]


@pytest.mark.parametrize(("policy", "strategy"), CASES)
def test_the_invariants_hold_on_every_walk(policy: str, strategy: str) -> None:
    for seed in SEEDS:
        walk(seed, policy, strategy)


@pytest.mark.long
@pytest.mark.parametrize(("policy", "strategy"), CASES)
def test_the_invariants_hold_on_many_walks(policy: str, strategy: str) -> None:
    for seed in LONG:
        walk(seed, policy, strategy)
