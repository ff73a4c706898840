"""The node's server, asked as the API server asks it: real agents, real programs, frames as kubectl sends them."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect

from schemas.objects import Object, uid_of
from services.agent.agent import wall_clock
from services.agent.serving.app import MOST_STREAMS
from services.agent.serving.channels import V4, V5, exit_code_of
from services.agent.serving.doors import listening_at, listening_on
from services.agent.serving.server import NodeServer
from tests.services.agent.builders import a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import Site

pytestmark = pytest.mark.e2e

MAIN_LOG = "/containerLogs/default/db-0/main"
WAITS = "trap 'exit 0' TERM; while :; do sleep 0.02; done"


class Node(Site):
    """A site whose agent's pods are served on TCP and on a socket."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.socket = directory / "nodes.sock"
        self.local = NodeServer(self.view, wall_clock, listening_at(self.socket))
        listening = listening_on("127.0.0.1", 0)
        self.port: int = listening.getsockname()[1]
        self.remote = NodeServer(self.view, wall_clock, listening)

    def close(self) -> None:
        self.local.close()
        self.remote.close()
        super().close()

    def view(self, namespace: str, name: str) -> Any:
        return self.agent.view(namespace, name)

    def running(self, script: str = WAITS, **fields: Any) -> Object:
        """Return a pod whose container `main` runs."""
        return self.pod_of(a_container(script=script, **fields))

    def pod_of(self, *containers: Object, **fields: Any) -> Object:
        pod = self.control.put(a_pod("db-0", *containers, **fields))
        eventually(lambda: "running" in (self.container(pod).get("state") or {}))
        return pod

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def logs(self, query: str = "", container: str = "main") -> str:
        status, body = self.get(f"/containerLogs/default/db-0/{container}?{query}")
        assert status == 200, body
        return body.decode()

    def refusal(self, path: str) -> Object:
        status, body = self.get(path)
        said: Object = json.loads(body)
        assert said["kind"] == "Status" and said["code"] == status
        return said

    def open(self, path: str, *protocols: str) -> ClientConnection:
        return unix_connect(str(self.socket), f"ws://node{path}", subprotocols=list(protocols or (V5, V4)))

    def exec(self, *words: str, flags: str = "stdout=1&stderr=1", protocol: str = V5) -> ClientConnection:
        command = urlencode([("command", word) for word in words])
        return self.open(f"/exec/default/db-0/main?{command}&{flags}", protocol)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def heard(connection: ClientConnection) -> tuple[dict[int, bytes], Object]:
    """Return what came on each channel until the server closed, and the Status at the end."""
    channels: dict[int, bytes] = {}
    for message in connection:
        assert isinstance(message, bytes)
        channels[message[0]] = channels.get(message[0], b"") + message[1:]
    assert connection.close_code == 1000
    return channels, json.loads(channels.pop(3))


def hear_until(connection: ClientConnection, end: bytes) -> bytes:
    found = b""
    while end not in found:
        message = connection.recv(timeout=20)
        assert isinstance(message, bytes) and message[0] != 3, (message, found)
        found += message[1:]
    return found


def process_of(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- logs


def test_a_log_is_sent_with_and_without_times_and_from_its_end(node: Node) -> None:
    node.running(f"for i in 1 2 3 4; do echo line $i; done; {WAITS}")
    eventually(lambda: node.logs() == "line 1\nline 2\nline 3\nline 4\n")
    assert node.logs("tailLines=2") == "line 3\nline 4\n"
    assert node.logs("tailLines=0") == ""
    assert node.logs("limitBytes=9") == "line 1\nli"
    stamped = node.logs("timestamps=true&tailLines=1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 4\n", stamped)
    first = node.logs("timestamps=true").split()[0]
    third = node.logs("timestamps=true").splitlines()[2].split()[0]
    assert node.logs(f"sinceTime={third}").endswith("line 3\nline 4\n")
    assert node.logs(f"sinceTime={first[:19]}Z") == node.logs() == node.logs("sinceSeconds=100")
    assert node.logs("sinceTime=2999-01-01T00:00:00%2B01:00") == ""


def test_streams_can_be_asked_for_apart(node: Node) -> None:
    node.running(f"echo out; echo err >&2; {WAITS}")
    eventually(lambda: sorted(node.logs().split()) == ["err", "out"])
    assert (node.logs("stream=Stdout"), node.logs("stream=Stderr")) == ("out\n", "err\n")


def test_following_goes_on_until_the_container_ends(node: Node) -> None:
    pod = node.running(
        "echo one; while ! test -e go; do sleep 0.02; done; echo two; exit 3",
    )
    parts: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def follow() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
        connection.request("GET", "/containerLogs/default/db-0/main?follow=true")
        answer = connection.getresponse()
        while part := answer.read1(1000):
            parts.put(part)
        parts.put(b"")
        connection.close()

    threading.Thread(target=follow, daemon=True).start()
    assert parts.get(timeout=10) == b"one\n"
    (node.node / "pods" / uid_of(pod) / "containers/main/work/go").touch()
    assert parts.get(timeout=10) == b"two\n"
    assert parts.get(timeout=10) == b""


def test_the_log_of_the_run_before_is_kept(node: Node) -> None:
    """Between two runs the last one's log is the present and the previous one, as on Kubernetes."""
    pod = node.control.put(a_pod("db-0", a_container(script="echo run of $$; exit 1")))
    eventually(lambda: node.container(pod).get("restartCount") == 1)
    eventually(lambda: node.reason(pod) == "CrashLoopBackOff", 15)
    assert node.logs("previous=true") == node.logs()
    assert node.logs().startswith("run of ")


def test_a_run_that_goes_on_has_another_before_it(node: Node) -> None:
    script = "test -e been && { echo second; while :; do sleep 0.02; done; }; touch been; echo first; exit 1"
    pod = node.control.put(a_pod("db-0", a_container(script=script)))
    eventually(lambda: node.container(pod).get("restartCount") == 1 and node.logs() == "second\n", 15)
    assert node.logs("previous=true") == "first\n"


@pytest.mark.parametrize(
    ("path", "code", "reason", "message"),
    [
        ("default/none/main", 404, "NotFound", 'pod "none" does not exist'),
        ("default/none", 404, "NotFound", "the server could not find the requested resource"),
        ("default/db-0/none", 404, "NotFound", 'container "none" not found in pod "db-0"'),
        (
            "default/db-0/main?previous=true",
            400,
            "BadRequest",
            'previous terminated container "main" in pod "db-0" not found',
        ),
        ("default/db-0/main?tailLines=-1", 422, "Invalid", "tailLines: Invalid value: -1: must be greater"),
        (
            "default/db-0/main?limitBytes=0",
            422,
            "Invalid",
            "limitBytes: Invalid value: 0: must be greater than 0",
        ),
        ("default/db-0/main?sinceSeconds=0", 422, "Invalid", "sinceSeconds: Invalid value: 0"),
        (
            "default/db-0/main?sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
            422,
            "Invalid",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ("default/db-0/main?tailLines=x", 400, "BadRequest", "tailLines: 'x' is no whole number"),
        ("default/db-0/main?sinceTime=noon", 400, "BadRequest", "sinceTime: 'noon' is no RFC 3339 time"),
        ("default/db-0/main?follow=maybe", 400, "BadRequest", "follow: 'maybe' is neither true nor false"),
        ("default/db-0/main?stream=Both", 422, "Invalid", 'stream: Unsupported value: "Both"'),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_as_the_kubelet_does(
    node: Node, path: str, code: int, reason: str, message: str
) -> None:
    node.running()
    said = node.refusal(f"/containerLogs/{path}")
    assert (said["code"], said["reason"]) == (code, reason) and message in said["message"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("known:2", "waiting to start: (image can't be pulled|trying and failing to pull image)"),
        ("host:1", "waiting to start: CreateContainerConfigError"),
    ],
)
def test_a_container_that_has_not_begun_says_what_it_waits_for(node: Node, image: str, sentence: str) -> None:
    (node.images / "known" / "1").mkdir(parents=True)
    missing = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "a"}}}]
    pod = node.control.put(a_pod("db-0", a_container(image=image, env=missing)))
    eventually(lambda: node.reason(pod) not in ("", "ContainerCreating"))
    said = node.refusal("/containerLogs/default/db-0/main")
    assert re.search(f'container "main" in pod "db-0" is {sentence}', said["message"])
    assert (said["code"], said["reason"]) == (400, "BadRequest")


# --- who may ask


def test_the_socket_is_its_owners_alone(node: Node) -> None:
    assert node.socket.stat().st_mode & 0o777 == 0o600
    node.local.close()
    assert not node.socket.exists()


# --- exec


@pytest.mark.parametrize("protocol", [V5, V4])
def test_a_command_answers_on_its_channels_and_tells_its_end(node: Node, protocol: str) -> None:
    node.running()
    with node.exec("sh", "-c", "echo out; echo err >&2; exit 3", protocol=protocol) as connection:
        assert connection.subprotocol == protocol
        channels, status = heard(connection)
    assert channels == {1: b"out\n", 2: b"err\n"}
    assert status["status"] == "Failure" and status["reason"] == "NonZeroExitCode"
    assert status["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}
    assert status["message"].startswith("command terminated with non-zero exit code: ")
    assert exit_code_of(status) == 3


def test_a_command_that_succeeds_says_so(node: Node) -> None:
    node.running()
    with node.exec("true") as connection:
        assert heard(connection) == ({1: b""}, {"metadata": {}, "status": "Success"})


def test_input_ends_where_the_client_says_so(node: Node) -> None:
    """Which only v5 can: channel 255 carries the number of the channel that is closed."""
    node.running()
    with node.exec("wc", "-c", flags="stdin=1&stdout=1") as connection:
        for _ in range(40):
            connection.send(b"\x00" + b"x" * 32_768)
        connection.send(b"\xff\x00")
        channels, status = heard(connection)
    assert channels[1].strip() == str(40 * 32_768).encode() and exit_code_of(status) == 0


def test_a_terminal_follows_the_clients_size(node: Node) -> None:
    node.running()
    with node.exec("sh", flags="stdin=1&stdout=1&stderr=1&tty=1", protocol=V4) as connection:
        connection.send(b"\x04" + json.dumps({"Width": 91, "Height": 17}).encode())
        connection.send(b"\x00stty size\n")
        hear_until(connection, b"17 91")
        connection.send(b"\x04not json")
        connection.send(b"\x04" + json.dumps({"Width": 50, "Height": 20}).encode())
        connection.send(b"\x00stty size; exit 9\n")
        channels, status = heard(connection)
    assert b"20 50" in channels[1] and 2 not in channels and exit_code_of(status) == 9


def test_a_command_that_cannot_be_executed_is_told_on_the_error_channel(node: Node) -> None:
    node.running()
    with node.exec("no-such") as connection:
        channels, status = heard(connection)
    assert channels == {} and status["reason"] == "InternalError" and status["code"] == 500
    assert 'exec: "no-such": executable file not found in $PATH' in status["message"]
    assert exit_code_of(status) is None


def test_a_container_that_does_not_run_takes_no_command(node: Node) -> None:
    pod = node.control.put(a_pod("db-0", a_container(script="exit 0"), restartPolicy="Never"))
    eventually(lambda: node.status(pod).get("phase") == "Succeeded")
    with node.exec("true") as connection:
        assert 'container not found ("main")' in heard(connection)[1]["message"]


@pytest.mark.parametrize("flags", ["stdout=1", "stdin=1&stdout=1&tty=1"])
def test_a_command_ends_when_its_client_goes(node: Node, flags: str) -> None:
    node.running()
    with node.exec("sh", "-c", "echo $$; exec sleep 1000", flags=flags) as connection:
        pid = int(hear_until(connection, b"\n"))
        assert process_of(pid)
    eventually(lambda: not process_of(pid))


def test_a_client_that_goes_while_nobody_reads_its_input_ends_its_command(node: Node) -> None:
    node.running()
    with node.exec("sh", "-c", "echo $$; exec sleep 1000", flags="stdin=1&stdout=1") as connection:
        pid = int(hear_until(connection, b"\n"))
        for _ in range(20):
            connection.send(b"\x00" + b"x" * 32_768)
    eventually(lambda: not process_of(pid))


def test_a_command_ends_with_its_pod(node: Node) -> None:
    pod = node.running()
    with node.exec("sh", "-c", "echo $$; exec sleep 1000") as connection:
        pid = int(hear_until(connection, b"\n"))
        node.delete(pod, grace=1)
        assert exit_code_of(heard(connection)[1]) == 137
    assert not process_of(pid)


def test_a_command_ends_with_the_server(node: Node) -> None:
    node.running()
    with node.exec("sh", "-c", "echo $$; exec sleep 1000") as connection:
        pid = int(hear_until(connection, b"\n"))
        node.local.close()
        eventually(lambda: not process_of(pid))


@pytest.mark.parametrize(
    ("path", "protocols", "code", "message"),
    [
        ("/exec/default/none/main?command=id&stdout=1", [V5], 404, 'pod "none" does not exist'),
        ("/exec/default/db-0/none?command=id&stdout=1", [V5], 404, 'container "none" not found'),
        ("/exec/default/db-0/main?stdout=1", [V5], 400, "command: is missing"),
        (
            "/exec/default/db-0/main?command=id",
            [V5],
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        ("/exec/default/db-0/main?command=id&stdout=1", ["channel.k8s.io"], 400, "no subprotocol"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_before_it_is_upgraded(
    node: Node, path: str, protocols: list[str], code: int, message: str
) -> None:
    node.running()
    with pytest.raises(InvalidStatus) as refused:
        node.open(path, *protocols)
    said = json.loads(refused.value.response.body or b"{}")
    assert refused.value.response.status_code == code and message in said["message"]


def test_the_kubelets_names_of_the_streams_are_known_too(node: Node) -> None:
    node.running()
    with node.exec("cat", flags="input=1&output=1&error=1") as connection:
        connection.send(b"\x00hello")
        connection.send(b"\xff\x00")
        assert heard(connection)[0] == {1: b"hello"}


def test_many_commands_run_at_a_time(node: Node) -> None:
    """More than a pool of usual size has threads for, and then one more."""
    node.running()
    with ExitStack() as stack:
        connections = [stack.enter_context(node.exec("cat", flags="stdin=1&stdout=1")) for _ in range(24)]
        for connection in connections:
            connection.send(b"\x00hi")
            assert hear_until(connection, b"hi") == b"hi"
    assert MOST_STREAMS > 24


# --- attach


def test_one_who_attaches_sees_what_the_program_prints(node: Node) -> None:
    node.running("while read line; do echo got $line; done; exit 0", stdin=True, stdinOnce=True)
    with node.open("/attach/default/db-0/main?stdin=1&stdout=1&stderr=1") as connection:
        connection.send(b"\x00one\n")
        hear_until(connection, b"got one\n")
        connection.send(b"\xff\x00")
        assert exit_code_of(heard(connection)[1]) == 0


def test_no_descriptor_or_thread_is_left_behind(node: Node) -> None:
    """Neither of commands nor of clients that follow a log in which nothing happens and go."""
    node.running(f"echo up; {WAITS}")
    eventually(lambda: node.logs() == "up\n")

    def use() -> None:
        for flags in ("stdout=1", "stdin=1&stdout=1&tty=1"):
            with node.exec("echo", "x", flags=flags) as connection:
                heard(connection)
            with node.exec("sleep", "1000", flags=flags):
                pass
        follower = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
        follower.request("GET", f"{MAIN_LOG}?follow=1")
        answer = follower.getresponse()
        assert answer.read1(100) == b"up\n"
        answer.close()
        follower.close()

    use()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        use()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
