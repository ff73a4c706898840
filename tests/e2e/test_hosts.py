"""Several hosts, as network namespaces on a bridge: agents that have joined over the API, one cut off and back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from schemas.event_types import condition_of
from schemas.objects import Object, name_of, uid_of
from schemas.times import parse_rfc3339
from services.agent.agent import wall_clock
from services.broker.keys import Keys
from services.broker.leases import Heartbeats
from services.connections import connect
from services.processes import die_with_parent
from services.settings import joined
from tests.e2e.clusters import SOURCES, Cluster, Ran, running_cluster, wait_for
from tests.e2e.kubectl.programs import kubectl_of

pytestmark = [pytest.mark.e2e, pytest.mark.server]
GRACE = 5
NAMES = ("h1", "h2", "h3")
SKEWS = {"h2": 3600, "h3": -3600}
"""How many seconds the clocks of some hosts are off, for all that runs there and is Python."""
SKEWED = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: _time_ns() + {seconds} * 10**9
"""
PROGRAM = """
import http.server, os, urllib.request

def address_of(name):
    for line in open(os.environ["CHRONOSET_HOSTS"]):
        address, *names = line.split()
        if name in names:
            return address

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        told = os.environ["POD_NAME"].encode()
        if name:
            told = urllib.request.urlopen(f"http://{address_of(name)}:8080/", timeout=5).read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(told)

http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""


@dataclass
class Hosts:
    """Network namespaces on one bridge. Those of one test run have names and addresses of their own."""

    number: int = field(default_factory=lambda: os.getpid() % 250)

    @property
    def prefix(self) -> str:
        return f"10.213.{self.number}"

    def make(self) -> None:
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{self.prefix}.1/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for index, name in enumerate(NAMES, 11):
            space, cable = self.space(name), self.cable(name)
            _ip("netns", "add", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", self.bridge, "up")
            _ip("-n", space, "address", "add", f"{self.prefix}.{index}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def remove(self) -> None:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", self.space(name)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)

    def cut(self, name: str) -> None:
        _ip("link", "set", self.cable(name), "down")

    def mend(self, name: str) -> None:
        _ip("link", "set", self.cable(name), "up")

    @property
    def bridge(self) -> str:
        return f"chb{self.number}"

    def space(self, name: str) -> str:
        return f"ch{self.number}-{name}"

    def cable(self, name: str) -> str:
        return f"chv{self.number}{name}"


@dataclass
class World:
    """A control plane on the bridge, and an agent in each namespace."""

    cluster: Cluster
    hosts: Hosts
    directory: Path
    join: list[str]
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.agents[name] = subprocess.Popen(
                self.command(name, name, self.directory / name),
                env=self.environ | self.skewed(SKEWS.get(name, 0)),
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
            )

    def joins(self, host: str, node: str, directory: Path) -> Ran:
        """Let somebody join who is expected to fail."""
        command = self.command(host, node, directory)
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=30, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def command(self, host: str, node: str, directory: Path) -> list[str]:
        inside = [
            "nsenter",
            f"--net=/run/netns/{self.hosts.space(host)}",
            sys.executable,
            "-m",
            "services.cli",
        ]
        return [*inside, *self.join, "--node-name", node, "--data-dir", str(directory)]

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOSET_")}
        return {**kept, "PYTHONPATH": str(SOURCES), "NO_COLOR": "1"}

    def skewed(self, seconds: int) -> dict[str, str]:
        """Return variables by which Python's clocks are off."""
        folder = self.directory / f"skewed{seconds}"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(SKEWED.format(seconds=seconds))
        return {"PYTHONPATH": f"{folder}:{SOURCES}"}

    def end(self) -> None:
        for agent in self.agents.values():
            agent.send_signal(signal.SIGTERM)
        for agent in self.agents.values():
            agent.wait(30)

    def readiness(self) -> dict[str, str]:
        return {
            name_of(node): condition_of(node, "Ready") for node in self.cluster.replayed().list("core/nodes")
        }

    def pods(self) -> dict[str, Object]:
        return {name_of(pod): pod for pod in self.cluster.replayed().list("core/pods")}

    def ready_pods(self) -> list[str]:
        return sorted(name for name, pod in self.pods().items() if condition_of(pod, "Ready") == "True")

    def processes(self) -> dict[str, list[int]]:
        """Return the pids of the programs by the pod's name, whichever host they are on."""
        found: dict[str, list[int]] = {}
        for place in Path("/proc").glob("[0-9]*/environ"):
            try:
                environ = place.read_bytes().split(b"\0")
                command = (place.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.directory).encode() in b" ".join(environ) and b"CHRONOSET_HOSTS" in command:
                name = next(each[9:].decode() for each in environ if each.startswith(b"POD_NAME="))
                found.setdefault(name, []).append(int(place.parent.name))
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("SEVERAL HOSTS ARE NOT TESTED: network namespaces need root, ip and nsenter")
    directory = tmp_path_factory.mktemp("hosts")
    with _network() as hosts:
        settings = {"CHRONOSET_API_ADDRESS": f"{hosts.prefix}.1", "CHRONOSET_NODE_GRACE": str(GRACE)}
        with running_cluster(directory / "plane", 0, **settings) as cluster:
            made = cluster.run("agent", "token", "create", "--ttl", "1h")
            assert made.code == 0, made.err
            world = World(cluster, hosts, directory, made.out.split()[1:])
            try:
                for name in NAMES:
                    world.start(name)
                wait_for(
                    lambda: world.readiness() == dict.fromkeys(NAMES, "True"), "three nodes to be Ready", 60
                )
                cluster.apply(a_service(), a_web())
                wait_for(
                    lambda: world.ready_pods() == ["web-0", "web-1", "web-2"], "the pods to be Ready", 60
                )
                yield world
            finally:
                world.end()


def test_pods_of_one_set_on_three_hosts_reach_each_other_by_name(world: World) -> None:
    pods = world.pods()
    assert sorted(pod["spec"]["nodeName"] for pod in pods.values()) == list(NAMES)
    for pod in pods.values():
        address = pod["status"]["podIP"]
        assert address.startswith(f"{world.hosts.prefix}.")
        assert condition_of(pod, "AddressFree") == "", "nobody is in its way"
        for peer in pods:
            told = wait_for(partial(_ask, address, f"{peer}.web.default.svc.cluster.local"), "an answer", 10)
            assert told == peer


def test_hosts_whose_clocks_are_an_hour_off_tell_the_clusters_time(world: World) -> None:
    since = parse_rfc3339(
        world.cluster.replayed().list("core/namespaces")[0]["metadata"]["creationTimestamp"]
    )
    for pod in world.pods().values():
        status = pod["status"]
        started = status["containerStatuses"][0]["state"]["running"]["startedAt"]
        ready = next(each for each in status["conditions"] if each["type"] == "Ready")["lastTransitionTime"]
        for told in (status["startTime"], started, ready):
            assert since - 5_000 <= parse_rfc3339(told) <= wall_clock() + 5_000, (
                pod["spec"]["nodeName"],
                told,
            )


def test_logs_and_commands_reach_the_pods_of_other_hosts_without_settings(world: World) -> None:
    """Through the API as kubectl asks, and straight from where the API's keys lie."""
    callers = [_chronoset_of(world.cluster)]
    if kubectl := kubectl_of("1.33"):
        callers.append(
            partial(_output, [kubectl, "--kubeconfig", str(world.cluster.data_dir / "kubeconfig")])
        )
    for caller, pod in zip(callers, world.pods(), strict=False):
        assert caller("exec", pod, "--", "sh", "-c", "echo $POD_NAME; exit 3") == (3, f"{pod}\n")
        code, printed = caller("logs", pod)
        assert code == 0 and '"GET /' in printed


def test_a_host_that_is_cut_off_is_not_ready_and_keeps_its_pod_which_is_started_nowhere_else(
    world: World,
) -> None:
    before, pods = world.processes(), world.pods()
    victim = next(name for name, pod in pods.items() if pod["spec"]["nodeName"] == "h3")
    world.hosts.cut("h3")
    try:
        wait_for(lambda: world.readiness()["h3"] == "Unknown", "h3 to be NotReady", 30)
        wait_for(lambda: victim not in world.ready_pods(), "its pod not to be Ready", 10)
        assert world.readiness()["h1"] == world.readiness()["h2"] == "True"
        assert world.processes() == before
        assert {name: uid_of(pod) for name, pod in world.pods().items()} == {
            name: uid_of(pod) for name, pod in pods.items()
        }
    finally:
        world.hosts.mend("h3")
    wait_for(lambda: world.readiness()["h3"] == "True", "h3 to be Ready again", 30)
    wait_for(lambda: victim in world.ready_pods(), "its pod to be Ready again", 30)
    assert world.processes() == before
    assert uid_of(world.pods()[victim]) == uid_of(pods[victim])


def test_a_queue_that_is_restarted_empty_makes_no_joined_node_not_ready(world: World) -> None:
    os.kill(world.cluster.pid_of("queue"), signal.SIGKILL)

    def heard() -> bool:
        client = connect(joined(world.cluster.settings).queue_url, "test")
        return set(Heartbeats(client, Keys(world.cluster.name)).read(NAMES)) == set(NAMES)

    since = world.cluster.log.last()
    wait_for(heard, "every node to be heard again", 60)
    types = {entry.type for entry in world.cluster.log.read(since, 10_000)}
    assert "NodeNotReady" not in types and "NodeStatusChanged" not in types
    assert world.readiness() == dict.fromkeys(NAMES, "True")


def test_a_second_agent_of_one_name_is_refused_and_says_so(world: World) -> None:
    ran = world.joins("h2", "h1", world.directory / "twin")
    assert ran.code != 0
    assert "node 'h1' is run by another agent" in ran.err and len(ran.err.splitlines()) == 1


def test_a_name_that_is_a_path_and_a_hash_of_another_cluster_are_refused(world: World) -> None:
    ran = world.joins("h2", "../etc", world.directory / "bad")
    assert ran.code == 2 and "'../etc' is no name for a node" in ran.err
    world.join[-1], good = "sha256:" + "0" * 64, world.join[-1]
    try:
        ran = world.joins("h2", "h9", world.directory / "bad")
    finally:
        world.join[-1] = good
    assert ran.code == 3 and "it is not the cluster" in ran.err


def test_an_agent_that_is_killed_and_started_again_finds_its_pod_running(world: World) -> None:
    before = world.processes()
    world.agents["h1"].kill()
    world.agents["h1"].wait(10)
    world.start("h1")
    wait_for(lambda: "adopted a pod" in (world.directory / "h1.log").read_text(), "the pod to be adopted", 30)
    assert world.processes() == before
    assert world.agents["h1"].poll() is None


def a_service() -> Object:
    spec = {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def a_web() -> Object:
    container = {
        "name": "web",
        "image": "python",
        "command": [sys.executable, "-c", PROGRAM],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "serviceName": "web",
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
        },
    }


@contextmanager
def _network() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        try:
            hosts.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"SEVERAL HOSTS ARE NOT TESTED: no network namespaces here: {error.stderr.decode()}")
        yield hosts
    finally:
        hosts.remove()


def _ask(address: str, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}:8080/{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _chronoset_of(cluster: Cluster) -> Callable[..., tuple[int, str]]:
    def call(*arguments: str) -> tuple[int, str]:
        ran = cluster.run(*arguments)
        return ran.code, ran.out

    return call


def _output(command: list[str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
