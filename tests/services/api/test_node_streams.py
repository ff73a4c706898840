"""Logs and commands through the API, on their way to a real node's server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from events.commit import Edges
from events.memory import MemoryLog
from schemas.objects import Object
from services.agent.agent import wall_clock
from services.agent.serving.certificates import Named, ServingCertificate
from services.agent.serving.doors import listening_on
from services.agent.serving.networked import NetworkedServer
from services.api.identity.node_certificates import node_certificate, nodes_authority, tls_of_api
from services.api.node_streams import NodeAccess
from services.api.program import Parts
from services.api.requests import Target, User
from services.api.seams import Policy
from services.node_servers import SOCKET_ANNOTATION
from tests.services.agent.serving.test_server import WAITS, Node, heard
from tests.services.api.apis import PODS, AnApi, served

pytestmark = pytest.mark.e2e

SOCKET = "nodes.sock"
V5 = "v5.channel.k8s.io"
COMMAND = "command=sh&command=-c&command=echo+out%3Becho+err+%3E%262%3Bexit+7&stdout=1&stderr=1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[AnApi]:
    log, policy = MemoryLog(), Policy(authorize=_no_writing_for_guests)
    access = NodeAccess(tmp_path, tls_of_api(nodes_authority(tmp_path, wall_clock()), wall_clock()))
    parts = Parts(lambda: log, Edges(), lambda obj: obj, lambda _: policy, nodes=access)
    with served(parts, log) as api:
        api.create("/api/v1/nodes", a_node_at("here", socket=SOCKET))
        yield api


def _no_writing_for_guests(_user: User, target: Target) -> str | None:
    return "" if target.verb == "create" and target.namespace == "guests" else None


def a_node_at(name: str, socket: str = "", port: int = 0) -> Object:
    status: Object = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    if port:
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": port}}
    annotations = {SOCKET_ANNOTATION: socket} if socket else {}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def bound(api: AnApi, node: str = "here", name: str = "db-0", *others: str) -> None:
    """Make the object of a pod whose containers are `main` and others."""
    containers = [{"name": each, "image": "db:1"} for each in ("main", *others)]
    spec = {"containers": containers, **({"nodeName": node} if node else {})}
    api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def spoken(api: AnApi, path: str, protocol: str = V5) -> ClientConnection:
    url = str(api.client.base_url).replace("http:", "ws:").rstrip("/")
    return connect(f"{url}{path}", subprotocols=[protocol])  # type: ignore[list-item]


def refused(api: AnApi, path: str, protocol: str = V5) -> Any:
    with pytest.raises(InvalidStatus) as refusal:
        spoken(api, path, protocol)
    return refusal.value.response


def test_a_log_comes_as_the_node_sends_it(api: AnApi, node: Node) -> None:
    node.running(f"for i in 1 2 3; do echo line $i; done; {WAITS}")
    bound(api)
    with api.client.stream("GET", f"{PODS}/db-0/log?follow=true&tailLines=2") as response:
        lines = response.iter_lines()
        assert [next(lines), next(lines)] == ["line 2", "line 3"]
    assert api.client.get(f"{PODS}/db-0/log?container=main&limitBytes=8").text == "line 1\nl"


def test_what_the_node_refuses_is_told_in_its_words(api: AnApi, node: Node) -> None:
    node.running()
    bound(api)
    status = api.fails(400, "GET", f"{PODS}/db-0/log?previous=true")
    assert status["message"] == 'previous terminated container "main" in pod "db-0" not found'
    assert api.fails(422, "GET", f"{PODS}/db-0/log?sinceSeconds=0")["reason"] == "Invalid"


def test_a_command_runs_and_its_exit_code_comes_back(api: AnApi, node: Node) -> None:
    node.running()
    bound(api)
    with spoken(api, f"{PODS}/db-0/exec?{COMMAND}") as connection:
        channels, status = heard(connection)
    assert channels == {1: b"out\n", 2: b"err\n"}
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


@pytest.fixture
def away(tmp_path: Path, node: Node) -> Iterator[int]:
    """Return the port of a server on the network of the node `away`, whose certificate the API's authority signs."""
    authority = nodes_authority(tmp_path, wall_clock())

    def ask(request: bytes) -> tuple[bytes, bytes]:
        return node_certificate(authority, request, "away", ["127.0.0.1"], wall_clock()), authority.pem

    listening = listening_on("127.0.0.1", 0)
    port = listening.getsockname()[1]
    certificate = ServingCertificate(tmp_path / "serving.pem", Named("away", "127.0.0.1"), ask)
    server = NetworkedServer(node.view, wall_clock, listening, certificate)
    yield port
    server.close()


def test_a_node_elsewhere_is_asked_over_tls(api: AnApi, node: Node, away: int) -> None:
    node.running("echo hello; exec sleep 1000")
    api.create("/api/v1/nodes", a_node_at("away", port=away))
    bound(api, "away")
    assert api.client.get(f"{PODS}/db-0/log").text == "hello\n"
    with spoken(api, f"{PODS}/db-0/exec?{COMMAND}") as connection:
        assert heard(connection)[0][1] == b"out\n"


def test_a_node_elsewhere_must_show_a_certificate_of_its_own_name(api: AnApi, node: Node, away: int) -> None:
    node.running("echo hello; exec sleep 1000")
    for name, port in (("twin", away), ("plain", node.port)):
        api.create("/api/v1/nodes", a_node_at(name, port=port))
        bound(api, name, f"db-{name}")
        assert f'node "{name}" cannot be asked' in api.fails(500, "GET", f"{PODS}/db-{name}/log")["message"]
        refusal = refused(api, f"{PODS}/db-{name}/exec?{COMMAND}")
        assert (refusal.status_code, f'node \\"{name}\\"'.encode() in refusal.body) == (500, True)


def test_a_node_elsewhere_answers_nobody_but_the_api(away: int) -> None:
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"https://127.0.0.1:{away}/healthz", verify=careless)


def test_a_pod_that_is_on_no_node_has_an_empty_log_and_runs_no_command(api: AnApi) -> None:
    bound(api, node="")
    assert api.ask("GET", f"{PODS}/db-0/log").status_code == 204
    assert b"pod db-0 does not have a host assigned" in refused(api, f"{PODS}/db-0/exec?{COMMAND}").body


def test_the_container_must_be_named_where_there_are_several(api: AnApi) -> None:
    bound(api, "here", "db-0", "side")
    status = api.fails(400, "GET", f"{PODS}/db-0/log")
    assert status["message"] == "a container name must be specified for pod db-0, choose one of: [main side]"
    other = api.fails(400, "GET", f"{PODS}/db-0/log?container=x")
    assert other["message"] == "container x is not valid for pod db-0"


def test_a_node_that_does_not_answer_is_named(api: AnApi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    api.create("/api/v1/nodes", a_node_at("dead", port=port))
    bound(api, "dead")
    status = api.fails(500, "GET", f"{PODS}/db-0/log")
    assert status["message"].startswith('Internal error occurred: node "dead" cannot be asked: 127.0.0.1:')
    response = refused(api, f"{PODS}/db-0/exec?{COMMAND}")
    assert (response.status_code, b'node \\"dead\\"' in response.body) == (500, True)
    again = api.fails(
        500, "POST", f"{PODS}/db-0/exec?{COMMAND}", None, upgrade="SPDY/3.1", connection="Upgrade"
    )
    assert 'node "dead"' in again["message"]


def test_spdy_is_refused_in_words_that_say_what_is_spoken(api: AnApi, node: Node) -> None:
    node.running()
    bound(api)
    spdy = {"upgrade": "SPDY/3.1", "connection": "Upgrade"}
    status = api.fails(400, "POST", f"{PODS}/db-0/exec?{COMMAND}", None, **spdy)
    assert "use kubectl 1.30 or later, or chronoset exec" in status["message"]
    status = api.fails(400, "POST", f"{PODS}/db-0/portforward", None, **spdy)
    assert "port-forward is not served here" in status["message"]
    assert api.fails(400, "GET", f"{PODS}/db-0/exec?{COMMAND}")["message"] == "Upgrade request required"


def test_who_may_only_read_runs_nothing(api: AnApi) -> None:
    response = refused(api, f"/api/v1/namespaces/guests/pods/db-0/exec?{COMMAND}")
    assert (response.status_code, b"cannot create resource" in response.body) == (403, True)


def test_a_protocol_that_nobody_knows_is_refused_by_the_node(api: AnApi, node: Node) -> None:
    node.running()
    bound(api)
    assert refused(api, f"{PODS}/db-0/exec?{COMMAND}", "channel.k8s.io").status_code == 400
