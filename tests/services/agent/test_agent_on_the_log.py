"""The agent, the API, the controller of volumes and the log: what a pod's life costs in events, and what it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import fakeredis
import pytest

from events.commit import Edges
from events.memory import MemoryLog
from schemas.deletion import deletion_of
from schemas.objects import Object, key_of_object, name_of
from services.agent.agent import Agent, wall_clock
from services.agent.images import ImageStore
from services.agent.nodes import NodeSettings
from services.agent.remote.connections import Api, Server
from services.agent.remote.control_plane import ApiControlPlane
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.zygotes import Zygote
from services.api.identity.nodes import GROUP, PREFIX
from services.api.identity.policies import policy_over
from services.api.identity.tokens import new_token, secret_of
from services.api.program import Parts
from services.broker.keys import Keys
from services.broker.leases import Heartbeats
from services.controllers.volumes import VOLUMES
from tests.services.agent.builders import a_container, a_pod, a_volume
from tests.services.agent.fakes import eventually
from tests.services.agent.planes import Hands
from tests.services.api.apis import AnApi, served

pytestmark = pytest.mark.e2e

CONFIRMED = ("PodDeleted", "node:n1")


class Site:
    """A node with an agent on a log; a controller of volumes that looks at every key again and again."""

    def __init__(self, directory: Path, api: AnApi) -> None:
        self.node = directory / "n1"
        self.images = directory / "images"
        (self.images / "db").mkdir(parents=True)
        self.api = api
        self.replica = api.server.replica
        self.hands = Hands(api.log, self.replica)
        token = new_token()
        self.hands.put(secret_of(token, f"{PREFIX}n1", (GROUP,), 0))
        self.remote = Api(Server(str(api.client.base_url).rstrip("/")), token)
        self.plane = ApiControlPlane(self.remote, "n1", "a-holder")
        self.zygote = Zygote()
        self.agent = self.begin()
        eventually(lambda: self.agent._intake.is_adopted and self.plane.published() == ())
        self.is_over = threading.Event()
        self.controller = threading.Thread(target=self._control, daemon=True)
        self.controller.start()

    def begin(self) -> Agent:
        agent = Agent(
            NodeSettings("n1", self.node),
            self.plane,
            lambda on_exit: ProcessRuntime(self.node, ImageStore(self.images), self.zygote, on_exit),
        )
        agent.start()
        return agent

    def end(self) -> None:
        self.is_over.set()
        self.controller.join()
        self.agent.stop(pods_grace=0.2)
        self.agent.join(10)
        self.plane.close()
        self.remote.close()
        self.zygote.close()

    def now(self, obj: Object) -> Object | None:
        return self.replica.get(key_of_object(obj))

    def is_ready(self, pod: Object) -> bool:
        status = (self.now(pod) or {}).get("status", {})
        return {"type": "Ready", "status": "True"}.items() <= next(
            (each for each in status.get("conditions", ()) if each["type"] == "Ready"), {}
        ).items()

    def delete(self, obj: Object) -> None:
        self.hands.commit(deletion_of(self.now(obj) or {}, wall_clock(), 1))

    def events_of(self, pod: Object) -> list[tuple[str, str]]:
        """(type, actor) of every event of the pod."""
        key = key_of_object(pod)
        return [(event.type, event.actor.name) for event in self.hands.events() if event.key == key]

    def _control(self) -> None:
        while not self.is_over.wait(0.02):
            for key in self._with_state(lambda state: list(VOLUMES.keys(state))):
                view = self._with_state(lambda state, key=key: VOLUMES.view_of(state, key))
                if view is not None and (decision := VOLUMES.reconcile(view, wall_clock())).changes:
                    self.hands.commit(*decision.changes)

    def _with_state(self, look: Callable[..., object]) -> object:
        with self.replica.reading() as state:
            return look(state)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    log = MemoryLog()
    parts = Parts(
        lambda: log,
        Edges(),
        lambda obj: obj,
        lambda replica: policy_over(replica, lambda obj: obj, wall_clock),
        heartbeats=Heartbeats(fakeredis.FakeRedis(), Keys("test"), 40_000),
    )
    with served(parts, log) as api:
        site = Site(tmp_path, api)
        yield site
        site.end()


def test_a_pod_that_starts_at_once_costs_one_event_and_its_end_three(site: Site) -> None:
    pod = site.hands.put(a_pod("db-0"))
    eventually(lambda: site.is_ready(pod))
    assert site.events_of(pod) == [("PodCreated", "user:alice"), ("PodReady", "node:n1")]
    site.delete(pod)
    eventually(lambda: site.now(pod) is None)
    assert [kind for kind, _ in site.events_of(pod)[2:]] == [
        "PodDeletionRequested",
        "PodFailed",
        "PodDeleted",
    ]


def test_a_pod_that_waits_says_so_soon(site: Site) -> None:
    claim = [{"name": "data", "persistentVolumeClaim": {"claimName": "none"}}]
    pod = site.hands.put(a_pod("db-0", volumes=claim))
    eventually(lambda: "containerStatuses" in ((site.now(pod) or {}).get("status") or {}), 2)
    waiting = (site.now(pod) or {})["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "ContainerCreating" and "not bound" in waiting["message"]


def test_every_event_of_an_agent_names_what_it_follows_from(site: Site) -> None:
    pod = site.hands.put(a_pod("db-0"))
    eventually(lambda: site.is_ready(pod))
    site.delete(pod)
    eventually(lambda: site.now(pod) is None)
    events = [event for event in site.hands.events() if event.key == key_of_object(pod)]
    ours = [(event, before) for before, event in pairwise(events) if event.actor.name == "node:n1"]
    assert len(ours) == 3
    assert all(event.cause == before.resource_version == event.previous for event, before in ours)


def test_an_agent_that_is_started_again_writes_nothing(site: Site) -> None:
    probe = {"tcpSocket": {"port": 1}, "periodSeconds": 1}
    pods = [
        site.hands.put(pod)
        for pod in (
            a_pod("a-0"),
            a_pod("b-0", a_container(readinessProbe=probe)),
            a_pod("c-0", a_container(script="exit 1")),
            a_pod("d-0", a_container(script="exit 0"), restartPolicy="Never"),
            a_pod("e-0", a_container(image="db:none")),
        )
    ]
    eventually(lambda: site.is_ready(pods[0]) and "CrashLoop" in str(site.now(pods[2])))
    eventually(lambda: "Succeeded" in str(site.now(pods[3])) and "running" in str(site.now(pods[1])))
    eventually(lambda: "ImagePullBackOff" in str(site.now(pods[4])))
    eventually(lambda: not site.hands.replica.wait_for(site.replica.position + 1, 0.5))
    before = site.hands.events()
    site.agent.stop()
    site.agent.join(10)
    site.agent = site.begin()
    eventually(lambda: site.agent._intake.is_adopted)
    site.replica.wait_for(site.replica.position + 1, 1.0)
    assert [(event.type, event.key, event.body) for event in site.hands.events()[len(before) :]] == []


@pytest.mark.parametrize(("policy", "is_kept"), [("Delete", False), ("Retain", True)])
def test_a_claim_that_is_deleted_takes_its_data_along_unless_that_is_retained(
    site: Site, policy: str, is_kept: bool
) -> None:
    claim, volume = a_bound_pair(policy)
    eventually(lambda: site.replica.get("core/nodes/n1"))
    claim = site.hands.put(claim)
    volume["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"]
    volume = site.hands.put(volume)
    mount = [{"name": "data", "mountPath": "/data"}]
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": name_of(claim)}}]
    container = a_container(script="echo x > data/f; exec sleep 1000", volumeMounts=mount)
    pod = site.hands.put(a_pod("db-0", container, volumes=volumes))
    file = site.node / volume["spec"]["local"]["path"] / "f"
    eventually(lambda: site.is_ready(pod) and file.exists())
    site.delete(claim)
    site.replica.wait_for(site.replica.position + 1, 0.3)
    assert site.now(claim) and file.exists(), "a claim in use stays, and so does its data"
    site.delete(pod)
    eventually(lambda: site.now(claim) is None)
    if is_kept:
        eventually(lambda: (site.now(volume) or {})["status"]["phase"] == "Released")
        site.replica.wait_for(site.replica.position + 1, 0.5)
        assert file.exists() and site.now(volume)
    else:
        eventually(lambda: site.now(volume) is None)
        assert not file.parent.exists() and file.parent.parent.exists()
        last = site.hands.events()[-1]
        assert (last.type, last.actor.name) == ("PersistentVolumeDeleted", "node:n1")
        assert last.cause == last.previous > 0


def a_bound_pair(policy: str) -> tuple[Object, Object]:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data-db-0",
            "namespace": "default",
            "finalizers": ["kubernetes.io/pvc-protection"],
        },
        "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound"},
    }
    volume = a_volume(
        deletionTimestamp=None,
        deletionGracePeriodSeconds=None,
        finalizers=["kubernetes.io/pv-protection"],
        annotations={"pv.kubernetes.io/provisioned-by": "chronoset.dev/local"},
    )
    volume["spec"]["persistentVolumeReclaimPolicy"] = policy
    return claim, {**volume, "status": {"phase": "Bound"}}
