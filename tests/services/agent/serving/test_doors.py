"""Where the node's server listens, and where others find it."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import Unavailable
from schemas.objects import Object
from services.agent.nodes import NodeSettings, node_object
from services.agent.serving.doors import listening_at, listening_on
from services.node_servers import ServerPlace, server_of


def test_a_port_that_another_program_has_is_left_to_it() -> None:
    with listening_on("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with listening_on("127.0.0.1", port) as other:
            assert other.getsockname()[1] not in (0, port)
    with listening_on("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port


def test_an_address_that_is_not_this_machines_is_named() -> None:
    with pytest.raises(
        Unavailable, match=r"cannot listen at 192\.0\.2\.7, which is no address of this machine"
    ):
        listening_on("192.0.2.7")


def test_a_socket_that_was_left_behind_is_replaced_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "nodes.sock"
    listening_at(path).close()
    with listening_at(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Unavailable, match="cannot listen at"):
        listening_at(tmp_path / "nowhere" / "nodes.sock")


def a_node(socket: str = "", port: int = 0) -> Object:
    return {
        "metadata": {"name": "n1", "annotations": {"chronoset.dev/server-socket": socket} if socket else {}},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "10.0.0.7"},
            ],
            **({"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}} if port else {}),
        },
    }


def test_a_node_cannot_send_anybody_to_another_programs_socket(tmp_path: Path) -> None:
    for name in ("log.sock", "../nodes.sock", "/run/docker.sock", "nodes.sock", "nodes/../log.sock"):
        with pytest.raises(Unavailable, match="node 'n1' cannot be asked"):
            server_of(a_node(name), tmp_path)


def test_a_port_counts_before_a_socket_that_the_node_had_before_it_joined(tmp_path: Path) -> None:
    with listening_at(tmp_path / "nodes.sock"):
        here, away = a_node("nodes.sock"), a_node("nodes.sock", 10250)
        assert server_of(here, tmp_path) == ServerPlace("n1", socket=tmp_path / "nodes.sock")
        assert server_of(away, tmp_path) == ServerPlace("n1", host="10.0.0.7", port=10250)


def test_a_node_that_listens_on_a_network_tells_where(tmp_path: Path) -> None:
    settings = NodeSettings("n1", tmp_path, address="10.0.0.7", server_port=10250)
    found = server_of(node_object(settings, "process", 0), tmp_path)
    assert found == ServerPlace("n1", host="10.0.0.7", port=10250)
    with pytest.raises(Unavailable):
        server_of(node_object(replace(settings, server_port=0), "process", 0), tmp_path)
