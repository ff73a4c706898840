"""A node over a real API: what it may do, what it learns and when, and what it does where that cannot be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fakeredis
import httpx
import pytest

from events.commit import REMEMBER_CONTROLLER, REMEMBER_PERSON, Edges
from events.memory import MemoryLog, wall_clock
from schemas.canonical import canonical
from schemas.errors import (
    BadRequest,
    ChronosetError,
    Forbidden,
    LostHistory,
    NotFound,
    PreconditionFailed,
    Unauthorized,
)
from schemas.event_types import condition_of
from schemas.objects import Object, uid_of
from schemas.times import parse_rfc3339, rfc3339
from services.agent.agent import Agent
from services.agent.nodes import NodeSettings, node_object
from services.agent.remote.clocks import ClusterClock, shifted
from services.agent.remote.connections import Api, Server
from services.agent.remote.control_plane import ApiControlPlane
from services.agent.runtimes.simulated import SimulatedRuntime
from services.agent.serving.certificates import Named, ServingCertificate
from services.api.identity.node_certificates import node_certificate, nodes_authority
from services.api.identity.policies import policy_over
from services.api.identity.tokens import BOOTSTRAPPERS, new_token, secret_of
from services.api.program import Parts
from services.api.requests import Caller, User
from services.api.writes import intent_of
from services.broker.keys import Keys
from services.broker.leases import Heartbeats
from services.joining import Invitation, certify, join, read_membership
from services.node_protocol import CERTIFICATE_PATH, NAMES_PATH
from tests.services.agent.builders import NOW, a_container, a_pod
from tests.services.agent.planes import Hands
from tests.services.api.apis import AnApi, served

HOUR = 3_600_000


@dataclass
class World:
    """An API that knows who asks, the queue's Redis of its heartbeats, and somebody who has joined as n1."""

    api: AnApi
    hands: Hands
    queue: fakeredis.FakeRedis
    url: str
    join_token: str
    directory: Path

    def joined(self, node: str, place: str = "a") -> str:
        """Return the token of a node."""
        folder = self.directory / place
        folder.mkdir(exist_ok=True)
        return join(Invitation(self.url, self.join_token), node, "", folder).token

    @contextmanager
    def plane(
        self, node: str, holder: str = "holder-1", clock: ClusterClock | None = None
    ) -> Iterator[ApiControlPlane]:
        api = Api(Server(self.url), self.joined(node, holder), clock)
        plane = ApiControlPlane(api, node, holder)
        try:
            yield plane
        finally:
            plane.close()
            api.close()

    def put(self, obj: Object) -> Object:
        return self.hands.put(canonical(obj).object)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    log, queue = MemoryLog(), fakeredis.FakeRedis()
    authority = nodes_authority(tmp_path / "api", wall_clock())

    def certify(request: bytes, node: str, addresses: Collection[str]) -> tuple[bytes, bytes]:
        return node_certificate(authority, request, node, addresses, wall_clock()), authority.pem

    parts = Parts(
        lambda: log,
        Edges(),
        lambda obj: obj,
        lambda replica: policy_over(replica, lambda obj: obj, wall_clock),
        heartbeats=Heartbeats(queue, Keys("test"), 40_000),
        certify=certify,
    )
    with served(parts, log) as api:
        hands = Hands(log, api.server.replica)
        token = new_token()
        hands.put(secret_of(token, "system:bootstrap:x", (BOOTSTRAPPERS,), wall_clock() + HOUR))
        yield World(api, hands, queue, str(api.client.base_url).rstrip("/"), token, tmp_path)


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return seen


def a_node(name: str = "n1") -> Object:
    return node_object(NodeSettings(name, Path("/tmp")), "process", NOW)


def a_config(value: str) -> Object:
    metadata = {"name": "cfg", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": value}}


MOUNTED = [{"name": "cfg", "configMap": {"name": "cfg"}}]


def test_a_node_that_has_joined_registers_reports_and_confirms(world: World) -> None:
    with world.plane("n1") as plane:
        plane.register(a_node())
        plane.register(a_node())
        pod = world.put(a_pod())
        until(lambda: plane.pods_on("n1"))
        plane.report(pod, {"phase": "Running"})
        plane.end_pods([pod])
        assert plane.pods_on("n1")[0]["metadata"]["deletionGracePeriodSeconds"] == 5
        plane.confirm_deleted(pod)
        assert plane.pods_on("n1") == []
    last = world.hands.events()[-1]
    assert (last.type, last.actor.name, last.actor.authenticated) == ("PodDeleted", "node:n1", "token")


def test_a_node_reaches_no_other_nodes_pods_and_only_what_its_own_name(world: World) -> None:
    world.put(a_config("1"))
    other = world.put(a_pod("other", nodeName="n2"))
    with world.plane("n1") as plane:
        plane.register(a_node())
        with pytest.raises(Forbidden):
            plane.pods_on("n2")
        with pytest.raises(Forbidden):
            plane.report(other, {"phase": "Failed"})
        with pytest.raises(ChronosetError):
            plane.get("core/configmaps", "default", "cfg")


def test_a_change_of_a_configuration_that_a_pod_names_is_learned_by_its_watch(world: World) -> None:
    world.put(a_config("1"))
    with world.plane("n1") as plane:
        plane.register(a_node())
        world.put(a_pod(volumes=MOUNTED))
        until(lambda: plane.pods_on("n1"))

        def value() -> str:
            found = plane.get("core/configmaps", "default", "cfg")
            return str(found["data"]["k"]) if found else ""

        assert value() == "1"
        mark = plane.wait(0, 0)
        world.put(a_config("2"))
        assert plane.wait(mark, 10) > mark
        assert until(lambda: value() == "2")


def test_heartbeats_are_keys_by_the_servers_clock_and_append_nothing(world: World) -> None:
    with world.plane("n1") as plane:
        plane.register(a_node())
        before = world.hands.log.last()
        plane.heartbeat("n1")
        assert abs(int(world.queue.get("{test}:heartbeat:n1") or 0) - wall_clock()) < 10_000
        assert world.hands.log.last() == before


def test_a_second_agent_of_one_name_is_refused_until_the_first_is_silent(world: World) -> None:
    with world.plane("n1") as first, world.plane("n1", "holder-2") as second:
        first.heartbeat("n1")
        with pytest.raises(Forbidden, match="run by another agent"):
            second.heartbeat("n1")
        assert second.displaced is not None and first.displaced is None
        with pytest.raises(Forbidden):
            second.wait(0, 0)
        with pytest.raises(Forbidden):
            second.register(a_node())
        assert first.node_now("n1") is None
        with pytest.raises(PreconditionFailed, match="run by another agent"):
            world.joined("n1", "elsewhere")
        world.queue.flushall()
        second.heartbeat("n1")


def test_joining_is_refused_with_a_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequest, match="is no name for a node"):
        world.joined("../etc")
    with pytest.raises(Unauthorized, match="token create"):
        join(Invitation(world.url, new_token()), "n1", "", world.directory)
    monkeypatch.setattr("services.agent.remote.connections.VERSION", 0)
    with pytest.raises(BadRequest, match="this agent speaks version '0'"):
        world.joined("n1")
    assert read_membership(world.directory) is None


def test_an_agent_of_an_older_version_is_no_longer_heard_and_is_told_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that had joined before the control plane was brought up to date: its pods run on, its node is NotReady."""
    token = world.joined("n1")
    monkeypatch.setattr("services.agent.remote.connections.VERSION", 0)
    api = Api(Server(world.url), token)
    plane = ApiControlPlane(api, "n1", "holder-1")
    try:
        with pytest.raises(
            BadRequest, match="install the control plane's release of chronoset on that machine"
        ):
            plane.heartbeat("n1")
        assert plane.displaced is None and world.queue.get("{test}:heartbeat:n1") is None
    finally:
        plane.close()
        api.close()


def test_a_join_token_is_good_for_joining_only(world: World) -> None:
    for path in ("/api/v1/pods", "/api/v1/namespaces/kube-system/secrets", NAMES_PATH):
        answer = httpx.get(world.url + path, headers={"Authorization": f"Bearer {world.join_token}"})
        assert answer.status_code == 403, path


def a_certificate(world: World, token: str, node: str, address: str = "127.0.0.1") -> ServingCertificate:
    """Return the certificate that an agent with this token asks for, for a node."""
    api = Api(Server(world.url), token)
    try:
        found = ServingCertificate(
            world.directory / "serving.pem", Named(node, address), partial(certify, api)
        )
        found.refresh(wall_clock())
        return found
    finally:
        api.close()


def test_a_node_that_has_registered_gets_a_certificate_for_itself_and_its_address(world: World) -> None:
    token = world.joined("n1")
    with pytest.raises(Forbidden, match=r"those of node 'n1' are \(none\), as its Node object says"):
        a_certificate(world, token, "n1")
    with world.plane("n1") as plane:
        plane.register(a_node())
    with pytest.raises(Forbidden, match="names 'n2': node 'n1' gets a certificate for its own name only"):
        a_certificate(world, token, "n2")
    with pytest.raises(
        Forbidden, match=r"the addresses '10\.9\.9\.9': those of node 'n1' are '127\.0\.0\.1'"
    ):
        a_certificate(world, token, "n1", "10.9.9.9")
    assert a_certificate(world, token, "n1").tls is not None


def test_who_joins_again_asks_for_another_certificate(world: World) -> None:
    """The cluster, and with it whoever signs, may be another one."""
    world.joined("n1")
    file = world.directory / "a" / "serving.pem"
    file.write_text("of another cluster")
    world.joined("n1")
    assert not file.exists()


def test_nobody_but_a_node_gets_a_certificate(world: World) -> None:
    with pytest.raises(Forbidden, match='User "system:bootstrap:x" is no node'):
        a_certificate(world, world.join_token, "n1")
    with pytest.raises(Unauthorized):
        a_certificate(world, new_token(), "n1")
    over = new_token()
    world.hands.put(secret_of(over, "system:node:n1", ("system:nodes",), wall_clock() - 1))
    with pytest.raises(Unauthorized):
        a_certificate(world, over, "n1")


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("POST", b"", 400),
        ("POST", b"[]", 400),
        ("POST", b'{"request": 1}', 400),
        ("POST", b'{"request": "hello"}', 400),
        ("POST", b"x" * 20_000, 413),
        ("GET", b"", 405),
    ],
)
def test_what_is_no_certificate_request_is_refused(world: World, method: str, body: bytes, code: int) -> None:
    headers = {"Authorization": f"Bearer {world.joined('n1')}"}
    answer = httpx.request(method, world.url + CERTIFICATE_PATH, content=body, headers=headers)
    assert (answer.status_code, answer.json()["kind"]) == (code, "Status")


def test_answers_from_another_log_are_not_believed(world: World) -> None:
    with world.plane("n1") as plane:
        plane.register(a_node())
        assert plane.log_id() == world.hands.log.log_id()
        plane._api._log_id = "another"
        with pytest.raises(LostHistory, match="works for the log another"):
            plane.report(a_pod(), {"phase": "Running"})


def test_a_log_that_is_shorter_than_what_was_seen_is_said(world: World) -> None:
    """A watch that is begun again behind the end of the log would wait for ever; the node says so and holds still."""
    world.put(a_pod())
    with world.plane("n1") as plane:
        plane.register(a_node())
        feed_of = plane._feeds
        until(lambda: plane.pods_on("n1"))
        feed = next(feed for source, feed in feed_of.items() if "pods" in source.path)
        feed._position += 1 << 40
        feed._following.cancel()
        feed._following = plane._api.spawn(feed._follow())
        with pytest.raises(LostHistory, match="shorter than this node has seen"):
            until(lambda: plane.wait(1 << 62, 0.05) and False)
        assert len(plane.pods_on("n1")) == 1


def test_a_watch_that_the_api_cannot_go_on_with_begins_anew_with_a_list(world: World) -> None:
    world.put(a_pod("a-0"))
    with world.plane("n1") as plane:
        plane.register(a_node())
        until(lambda: plane.pods_on("n1"))
        feed = next(feed for source, feed in plane._feeds.items() if "pods" in source.path)
        feed._following.cancel()
        world.put(a_pod("b-0"))
        world.api.server.hub.ring.floor = world.hands.log.last()
        feed._following = plane._api.spawn(feed._follow())
        until(lambda: len(plane.pods_on("n1")) == 2)


def test_what_a_node_writes_is_remembered_as_long_as_what_controllers_write() -> None:
    caller = Caller(address="127.0.0.1", request="r")
    assert intent_of(User("system:node:n1", ("system:nodes",)), caller).remember == REMEMBER_CONTROLLER
    assert intent_of(User("alice"), caller).remember == REMEMBER_PERSON


def test_a_node_whose_clock_is_an_hour_off_reports_in_the_clusters_time(world: World) -> None:
    with world.plane("n1", clock=ClusterClock(lambda: wall_clock() - HOUR)) as plane:
        plane.register(a_node())
        pod = world.put(a_pod())
        until(lambda: plane.pods_on("n1"))
        ours = wall_clock() - HOUR
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(ours)}],
        }
        plane.report(pod, status)
        assert condition_of(plane.pods_on("n1")[0], "Ready") == "True"
        replica = world.hands.replica
        (told,) = until(lambda: (replica.get("core/pods/default/db-0") or {})["status"].get("conditions"))
        assert parse_rfc3339(told["lastTransitionTime"]) - ours == pytest.approx(HOUR, abs=3_000)


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_whole_agent_whose_clock_is_an_hour_off_is_a_node_like_any_other(world: World, off: int) -> None:
    """It registers, is heard, takes pods, probes them and ends them, all in the cluster's time."""

    def clock() -> int:
        return wall_clock() + off

    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    pod = world.put(a_pod("db-0", a_container(readinessProbe=probe)))
    with world.plane("n1", clock=ClusterClock(clock)) as plane:
        settings = NodeSettings("n1", world.directory / "n1", heartbeat_seconds=0.2)
        agent = Agent(settings, plane, lambda on_exit: SimulatedRuntime(on_exit, clock), clock)
        agent.start()
        replica = world.hands.replica
        try:
            found = until(lambda: _if_ready(replica.get("core/pods/default/db-0")))
            node = until(lambda: replica.get("core/nodes/n1"))
            times = [
                found["status"]["startTime"],
                found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
            ]
            times += [
                each["lastTransitionTime"]
                for each in (*found["status"]["conditions"], *node["status"]["conditions"])
            ]
            assert all(abs(parse_rfc3339(time) - wall_clock()) < 15_000 for time in times), times
            plane.end_pods([pod])
            until(lambda: replica.get("core/pods/default/db-0") is None)
        finally:
            agent.stop()
            agent.join(10)


def _if_ready(pod: Object | None) -> Object | None:
    return pod if pod and condition_of(pod, "Ready") == "True" else None


def test_only_times_are_shifted() -> None:
    def status(at: int) -> Object:
        ended = [{"finishedAt": rfc3339(at), "startedAt": None}]
        return {"startTime": rfc3339(at), "podIP": "10.0.0.1", "list": ended}

    assert shifted(status(NOW), HOUR) == status(NOW + HOUR)
    assert shifted(status(NOW), 0) == status(NOW)


def test_an_api_that_is_away_is_said_at_once_and_what_was_known_stays(world: World) -> None:
    world.put(a_pod())
    with world.plane("n1") as plane:
        plane.register(a_node())
        (pod,) = until(lambda: plane.pods_on("n1"))
        plane._api.is_down = True
        began = time.monotonic()
        with pytest.raises(ChronosetError):
            plane.report(pod, {"phase": "Running"})
        assert time.monotonic() - began < 1
        assert [uid_of(each) for each in plane.pods_on("n1")] == [uid_of(pod)]


def test_a_missing_pod_is_not_found(world: World) -> None:
    with world.plane("n1") as plane:
        plane.register(a_node())
        pod = world.put(a_pod())
        until(lambda: plane.pods_on("n1"))
        with pytest.raises(NotFound):
            plane.report(replace_uid(pod), {"phase": "Failed"})


def replace_uid(pod: Object) -> Object:
    return {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
