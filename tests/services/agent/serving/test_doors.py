"""Where the node's server listens: what settings are refused, and with which words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import BadRequest, ChronosetError, Forbidden, Unavailable
from schemas.objects import Object
from services.agent.nodes import NodeSettings, node_object
from services.agent.serving.doors import socket_door, tcp_door
from services.agent.serving.server import Door
from services.node_servers import ServerPlace, server_of
from services.settings import Settings, settings_from
from services.sockets import make_socket_dir, remove_socket_dir

TOKEN = "0123456789abcdef"


def settings_with(tmp_path: Path, **given: str) -> Settings:
    environ = {f"CHRONOSET_NODE_{name}": value for name, value in given.items()}
    return settings_from({"CHRONOSET_DATA_DIR": str(tmp_path), **environ})


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


def test_without_settings_there_is_only_the_socket(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    assert tcp_door(settings) is None
    assert socket_door(settings) is None
    make_socket_dir(settings.socket_dir)
    try:
        assert socket_door(settings) == Door(path=settings.socket_dir / "nodes.sock")
    finally:
        remove_socket_dir(settings.socket_dir)


def test_a_loopback_address_needs_a_token_and_no_certificate(tmp_path: Path, token_file: str) -> None:
    for listen, host in (("127.0.0.1:10250", "127.0.0.1"), ("[::1]:10250", "::1")):
        settings = settings_with(tmp_path, LISTEN=listen, TOKEN_FILE=token_file)
        assert tcp_door(settings) == Door(None, host, 10250, TOKEN)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            {"LISTEN": "10250"},
            BadRequest,
            "CHRONOSET_NODE_LISTEN: '10250' is no address: write 127.0.0.1:10250",
        ),
        ({"LISTEN": "127.0.0.1:99999"}, BadRequest, "is no address"),
        ({"LISTEN": "127.0.0.1:1"}, BadRequest, "CHRONOSET_NODE_TOKEN_FILE: is not set"),
        (
            {"LISTEN": "0.0.0.0:1", "TOKEN_FILE": "good"},
            BadRequest,
            "is open to a network: set CHRONOSET_NODE_CERT",
        ),
        ({"LISTEN": "0.0.0.0:1", "TOKEN_FILE": "good", "CERT": "c"}, BadRequest, "only one is set"),
        ({"LISTEN": "127.0.0.1:1", "TOKEN_FILE": "none"}, BadRequest, "cannot be read"),
        ({"LISTEN": "127.0.0.1:1", "TOKEN_FILE": "short"}, BadRequest, "holds no token: write 16 or more"),
        (
            {"LISTEN": "127.0.0.1:1", "TOKEN_FILE": "open"},
            Forbidden,
            "is open to others (mode 0644, must be 0600)",
        ),
    ],
)
def test_an_unsafe_or_senseless_door_is_refused(
    tmp_path: Path, token_file: str, given: dict[str, str], error: type[ChronosetError], said: str
) -> None:
    for name, text, mode in (("short", "abc", 0o600), ("open", TOKEN, 0o644)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    paths = {"good": token_file, **{name: str(tmp_path / name) for name in ("none", "short", "open")}}
    settings = settings_with(tmp_path, **{name: paths.get(value, value) for name, value in given.items()})
    with pytest.raises(error) as refused:
        tcp_door(settings)
    assert said in str(refused.value)


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
    assert server_of(a_node("log.sock", 10250), tmp_path) == ServerPlace(host="10.0.0.7", port=10250)


def test_a_node_that_listens_on_a_network_tells_where(tmp_path: Path) -> None:
    settings = NodeSettings("n1", tmp_path, address="10.0.0.7", server_port=10250)
    assert server_of(node_object(settings, "process", 0), tmp_path) == ServerPlace(
        host="10.0.0.7", port=10250
    )
    with pytest.raises(Unavailable):
        server_of(node_object(replace(settings, server_port=0), "process", 0), tmp_path)
