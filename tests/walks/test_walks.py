"""Random walks of a whole control plane: whatever fails in between, the rules hold after every event."""

from __future__ import annotations

import random

import pytest

from events.codec import decode
from events.fold import apply
from events.replica import Applied
from events.state import State
from schemas.changes import Create, Replace
from schemas.objects import Object, is_terminating, name_of, uid_of, with_fields
from schemas.quantities import parse_quantity
from schemas.revisions import derive, template_of
from tests.events.oracle import naive_fold
from tests.events.worlds import a_statefulset, with_image
from tests.walks.clusters import BAD, Cluster, is_ready, owned_pods, replayed, set_key

SETS = ("db", "web")
STEPS = 250


def a_set(name: str, dice: random.Random) -> Object:
    claims = [
        {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    ]
    made = a_statefulset(
        name,
        f"{name}:0",
        dice.randint(0, 4),
        podManagementPolicy=dice.choice(["OrderedReady", "Parallel"]),
        updateStrategy=dice.choice(
            [
                {"type": "RollingUpdate", "rollingUpdate": {"partition": dice.randint(0, 3)}},
                {"type": "RollingUpdate"},
            ]
        ),
        persistentVolumeClaimRetentionPolicy=retention(dice),
        **({"volumeClaimTemplates": claims} if dice.random() < 0.6 else {}),
    )
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": dice.choice(["100m", "500m"])}}
    return made


def retention(dice: random.Random) -> Object:
    return {when: dice.choice(["Delete", "Retain"]) for when in ("whenDeleted", "whenScaled")}


def act(cluster: Cluster, dice: random.Random) -> None:
    """A person does something."""
    name = dice.choice(SETS)
    found = cluster.get(set_key(name))
    if found is None:
        cluster.try_commit(Create(a_set(name, dice)))
        return
    spec = found["spec"]

    def edit(**fields: object) -> None:
        cluster.try_commit(Replace(found, with_fields(found, spec={**spec, **fields})))

    match dice.randrange(11):
        case 0 | 1:
            edit(replicas=dice.randint(0, 4))
        case 2 | 3:
            cluster.try_commit(Replace(found, with_image(found, f"{name}:{dice.randrange(4)}")))
        case 4:
            cluster.try_commit(Replace(found, with_image(found, BAD)))
        case 5:
            pods = owned_pods(cluster.state, found)
            if pods:
                cluster.delete(f"core/pods/default/{name_of(dice.choice(pods))}")
        case 6:
            edit(ordinals={"start": dice.randint(0, 3)})
        case 7:
            edit(persistentVolumeClaimRetentionPolicy=retention(dice))
        case 8:
            most = {"partition": dice.randint(0, 2), "maxUnavailable": dice.choice([1, 2, "50%", "75%"])}
            edit(updateStrategy={"type": "RollingUpdate", "rollingUpdate": most})
        case 9:
            claims = sorted(map(name_of, cluster.state.list("core/persistentvolumeclaims", "default")))
            if claims:
                cluster.delete(f"core/persistentvolumeclaims/default/{dice.choice(claims)}")
        case _ if dice.random() < 0.4:
            cluster.delete(set_key(name), dice.choice(["Background", "Foreground", "Orphan"]))


def step(cluster: Cluster, dice: random.Random) -> None:
    match dice.randrange(20):
        case 0:
            act(cluster, dice)
        case 1:
            cluster.pass_time(dice.choice([100, 2_000, 20_000]))
        case 2:
            cluster.mark_all()
        case 3 | 4 | 5 | 6 | 7 | 8:
            cluster.step_kubelet()
        case _:
            cluster.step_worker()


# --- what must hold of every single event, given the world right before it


def check_events(cluster: Cluster, checked: int) -> int:
    for applied in cluster.seen[checked:]:
        check_event(applied)
    return len(cluster.seen)


def check_event(applied: Applied) -> None:
    event, old, new = applied.event, applied.old, applied.new
    if event.type == "PodBound":
        assert event.actor.name == "controller:scheduler"
        assert old is not None and "nodeName" not in old["spec"], "a pod is bound once"
    if event.type == "PodDeleted" and event.actor.name == "controller:statefulset":
        assert old is not None
        unscheduled = "nodeName" not in old["spec"]
        finished = old["status"].get("phase") in ("Failed", "Succeeded")
        assert unscheduled or finished, "a pod that may run is never removed behind its agent's back"
    if event.op == "update" and old and new:
        assert old["metadata"]["uid"] == new["metadata"]["uid"]


class Watch:
    """Checks each append: by the state right before it, and, where the rules allow others to be faster (creates rest
    on no other pod), by the state in which it was decided."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.before = cluster.state.copy()
        self.events = len(cluster.seen)
        cluster.log.deciding = lambda: cluster.state.copy()
        cluster.log.appended = self.look

    def look(self, decided: State) -> None:
        state = self.cluster.state
        for applied in self.cluster.seen[self.events :]:
            check_event(applied)
            if applied.event.actor.name == "controller:statefulset":
                self.check_statefulset(applied, decided)
        self.check_nodes()
        self.events = len(self.cluster.seen)
        self.before = state.copy()

    def check_statefulset(self, applied: Applied, decided: State) -> None:
        event, old, new = applied.event, applied.old, applied.new
        subject = new if new is not None else old
        assert subject is not None
        if subject["kind"] != "Pod":
            return
        workload = self.before.get(set_key(name_of(subject).rsplit("-", 1)[0]))
        assert workload is not None and not is_terminating(workload), (
            "a set that is gone or going is left alone"
        )
        start = workload["spec"].get("ordinals", {}).get("start", 0)
        wanted = range(start, start + workload["spec"]["replicas"])
        ordinal = int(name_of(subject).rsplit("-", 1)[1])
        pods = {int(name_of(pod).rsplit("-", 1)[1]): pod for pod in owned_pods(self.before, workload)}
        ordered = workload["spec"]["podManagementPolicy"] == "OrderedReady"
        if event.op == "create":
            assert ordinal in wanted, "no pod beyond the replicas"
            self.check_revision(workload, subject, ordinal - start)
            if ordered:
                seen = {int(name_of(pod).rsplit("-", 1)[1]): pod for pod in owned_pods(decided, workload)}
                behind = [seen.get(lower) for lower in range(start, ordinal)]
                assert all(pod and is_ready(pod) and not is_terminating(pod) for pod in behind), (
                    "in order, each Ready"
                )
        elif event.type == "PodDeletionRequested" and old is not None and is_ready(old):
            if ordinal not in wanted:
                condemned = [each for each in pods if each not in wanted]
                assert not ordered or ordinal == max(condemned), "the condemned go from the highest down"
                self.check_claims_go_along(workload, subject)
                return
            self.check_budget(workload, [pods.get(index) for index in wanted])

    def check_budget(self, workload: Object, replicas: list[Object | None]) -> None:
        """As of right before the batch: it may take several pods, of which the budget is the limit."""
        strategy = workload["spec"]["updateStrategy"].get("rollingUpdate", {})
        most = strategy.get("maxUnavailable", 1)
        budget = max(int(most[:-1]) * len(replicas) // 100 if isinstance(most, str) else most, 1)
        available = [pod for pod in replicas if pod and is_ready(pod) and not is_terminating(pod)]
        unavailable = len(replicas) - len(available)
        assert unavailable < budget, "a Ready pod is replaced only within the budget"
        if workload["spec"]["podManagementPolicy"] == "OrderedReady":
            assert not unavailable, "in order only while all are available"

    def check_claims_go_along(self, workload: Object, pod: Object) -> None:
        """When a condemned pod is asked to end, its claims are its own, or keep, as the policy says."""
        policy = workload["spec"]["persistentVolumeClaimRetentionPolicy"]
        state = self.cluster.state
        if "volumeClaimTemplates" in workload["spec"]:
            claim = state.get(f"core/persistentvolumeclaims/default/data-{name_of(pod)}")
            owners = [] if claim is None else claim["metadata"].get("ownerReferences", [])
            takes = any(each["uid"] == uid_of(pod) for each in owners)
            assert claim is None or takes == (policy["whenScaled"] == "Delete")

    def check_revision(self, workload: Object, pod: Object, ordinal: int) -> None:
        strategy = workload["spec"]["updateStrategy"]
        revision = pod["metadata"]["labels"]["controller-revision-hash"]
        partition = strategy.get("rollingUpdate", {}).get("partition", 0)
        revisions = {name_of(each): each for each in self.before.list("apps/controllerrevisions")}
        current = workload["status"].get("currentRevision")
        if "rollingUpdate" in strategy and ordinal < partition and current in revisions:
            assert revision == current, "below the partition the current revision"
        if "rollingUpdate" in strategy and ordinal >= partition:
            assert template_of(revisions[revision]) == workload["spec"]["template"], (
                "at or above it the new one"
            )

    def check_nodes(self) -> None:
        state = self.cluster.state
        for node in state.list("core/nodes"):
            used = 0
            for pod in state.pods_on(name_of(node)):
                if pod["status"].get("phase") not in ("Failed", "Succeeded"):
                    requests = pod["spec"]["containers"][0]["resources"].get("requests", {})
                    used += parse_quantity(requests.get("cpu", "0")).nanos
            assert used <= parse_quantity(node["status"]["allocatable"]["cpu"]).nanos, (
                "no node is overcommitted"
            )
        volumes = {name_of(volume): volume for volume in state.list("core/persistentvolumes")}
        for claim in state.list("core/persistentvolumeclaims"):
            if volume := claim["spec"].get("volumeName"):
                pod = state.get(f"core/pods/default/{name_of(claim).removeprefix('data-')}")
                if (
                    pod is not None
                    and pod["spec"].get("nodeName")
                    and name_of(claim) in str(pod["spec"].get("volumes"))
                ):
                    assert pod["spec"]["nodeName"] in str(volumes[volume]["spec"]["nodeAffinity"]), (
                        "at its volume"
                    )


def check_rest(cluster: Cluster) -> None:
    """What must hold once everything has come to rest."""
    state = cluster.state
    for name in SETS:
        workload = state.get(set_key(name))
        if workload is None:
            continue
        replicas, status = workload["spec"]["replicas"], workload["status"]
        pods = owned_pods(state, workload)
        if is_stuck_by_will(cluster, workload):
            continue
        start = workload["spec"].get("ordinals", {}).get("start", 0)
        wanted = [f"{name}-{ordinal}" for ordinal in range(start, start + replicas)]
        assert sorted(map(name_of, pods)) == wanted
        check_claims_at_rest(cluster, workload, wanted)
        assert all(map(is_ready, pods)), "everything that can run runs"
        assert status["observedGeneration"] == workload["metadata"]["generation"]
        assert status["replicas"] == replicas
        assert status.get("readyReplicas", 0) == sum(map(is_ready, pods))
        names = {
            name_of(revision) for revision in state.owned_by(uid_of(workload)) if revision["kind"] != "Pod"
        }
        assert {pod["metadata"]["labels"]["controller-revision-hash"] for pod in pods} <= names
    uids = {uid_of(obj) for obj in state.objects.values()}
    for obj in state.objects.values():
        for reference in obj["metadata"].get("ownerReferences", ()):
            assert reference["uid"] in uids, f"{name_of(obj)} outlived its owner"
        assert not is_terminating(obj) or is_in_use(state, obj), f"{name_of(obj)} is still terminating"
    replay = replayed(cluster.log)
    assert replay.objects == state.objects == naive_fold(cluster.log.read(0, 1 << 20))
    heads = dict(replay.heads())
    assert cluster.log.heads(list(heads)) == heads


def check_claims_at_rest(cluster: Cluster, workload: Object, wanted: list[str]) -> None:
    """Every replica has its claim, owned by the set exactly if the claim is to go with the set.

    One adopted from a set without claims mounts none, and has none until it is replaced.
    """
    if "volumeClaimTemplates" not in workload["spec"]:
        return
    policy = workload["spec"]["persistentVolumeClaimRetentionPolicy"]
    expected = [uid_of(workload)] if policy["whenDeleted"] == "Delete" else []
    for pod in wanted:
        if f"data-{pod}" not in str(cluster.get(f"core/pods/default/{pod}")):
            continue
        claim = cluster.get(f"core/persistentvolumeclaims/default/data-{pod}")
        assert claim is not None, f"{pod} has no claim"
        owners = [each["uid"] for each in claim["metadata"].get("ownerReferences", [])]
        assert owners == expected or is_terminating(claim)


def is_in_use(state: State, obj: Object) -> bool:
    """True for a claim that somebody has deleted under a pod: it stays until the pod goes."""
    pod = state.get(f"core/pods/default/{name_of(obj).removeprefix('data-')}")
    return obj["kind"] == "PersistentVolumeClaim" and pod is not None and "nodeName" in pod["spec"]


def is_stuck_by_will(cluster: Cluster, workload: Object) -> bool:
    """True where a revision that pods are meant to be at can run nowhere: then the set waits, and says so."""
    status, state = workload["status"], cluster.state
    names = {status["currentRevision"], status["updateRevision"]}
    revisions = [state.get(f"apps/controllerrevisions/default/{name}") for name in names]
    images = {template_of(each)["spec"]["containers"][0]["image"] for each in revisions if each}
    return BAD in images


def walk(seed: int, steps: int = STEPS) -> Cluster:
    dice = random.Random(f"walk {seed}")
    cluster = Cluster(seed)
    Watch(cluster)
    cluster.wander(lambda: step(cluster, dice), steps, dice)
    cluster.settle()
    check_rest(cluster)
    return cluster


@pytest.mark.parametrize("seed", range(6))
def test_the_rules_hold_on_every_walk(seed: int) -> None:
    walk(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_the_rules_hold_on_many_walks(seed: int) -> None:
    walk(seed, 400)


def test_walks_do_what_they_are_for() -> None:
    """The walks meet every kind of event, conflicts, failures and healing: a walk that meets nothing proves nothing."""
    types: set[str] = set()
    for seed in range(12):
        types |= {applied.event.type for applied in walk(seed).seen}
    assert types >= {
        "StatefulSetTemplateChanged", "StatefulSetScaled", "StatefulSetDeleted", "ControllerRevisionCreated",
        "ControllerRevisionRenumbered", "PodCreated", "PodBound", "PodReady", "PodFailed", "PodDeletionRequested",
        "PodDeleted", "PersistentVolumeClaimBound",
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_hints_alone_bring_everything_to_rest(seed: int) -> None:
    """Where no hint is lost no key need be marked again: the triggers name every key that an event concerns."""
    dice = random.Random(f"hints {seed}")
    cluster = Cluster(seed, loss=0.0)
    cluster.mark_all = lambda: None  # type: ignore[method-assign]
    for _ in range(STEPS):
        step(cluster, dice)
    cluster.settle()
    check_rest(cluster)


@pytest.mark.parametrize("seed", range(4))
def test_every_derived_revision_follows_from_the_log_alone(seed: int) -> None:
    """Delete every ControllerRevision from the story: derivation gives each again, same name, number and data."""
    cluster = walk(seed)
    derived = 0
    state = State()
    entries = cluster.log.read(0, 1 << 20)
    for entry in entries:
        event = decode(entry)
        if event.derivation and event.op == "create":
            revision = event.body
            assert revision is not None
            owner = revision["metadata"]["ownerReferences"][0]
            workload = state.get(set_key(owner["name"]))
            assert workload is not None and uid_of(workload) == owner["uid"]
            again = derive(workload, state.list("apps/controllerrevisions", "default"))
            (found,) = [change.object for change in again.changes if isinstance(change, Create)]
            assert name_of(found) == name_of(revision)
            assert (found["revision"], found["data"]) == (revision["revision"], revision["data"])
            derived += 1
        apply(state, event)
    assert derived
