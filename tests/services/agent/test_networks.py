"""A node's network: what counts as one, and what an agent does while there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.event_types import condition_of
from schemas.objects import Object, name_of
from schemas.taints import NOT_READY
from schemas.times import Milliseconds
from services.agent.agent import Agent, wall_clock
from services.agent.networks import Network, must_wait, network_of, sentence_of
from services.agent.nodes import NodeSettings, node_object, own_address
from services.agent.runtimes.port import OnExit, Sandbox
from services.agent.runtimes.simulated import SimulatedRuntime
from tests.services.agent.builders import NOW, a_pod
from tests.services.agent.fakes import MemoryControlPlane, eventually

LOOPBACK = '{"cniVersion": "1.0.0", "name": "loopback", "plugins": [{"type": "loopback"}]}'
NOTHING_THERE = "Network plugin returns error: cni plugin not initialized"


def test_a_node_without_a_directory_for_it_needs_no_network() -> None:
    assert network_of(None) == Network()
    assert sentence_of(network_of(None)) == ""


def test_no_network_is_ready_where_nothing_was_put_down(tmp_path: Path) -> None:
    assert network_of(tmp_path / "missing") == Network(why_not=NOTHING_THERE)
    assert network_of(tmp_path) == Network(why_not=NOTHING_THERE)


@pytest.mark.parametrize(
    ("file", "content"),
    [("10-a.conflist", LOOPBACK), ("a.conf", '{"name": "loopback", "type": "bridge"}')],
)
def test_a_configuration_as_cni_plugins_write_it_is_a_network(
    tmp_path: Path, file: str, content: str
) -> None:
    (tmp_path / file).write_text(content)
    assert network_of(tmp_path) == Network("loopback")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expecting value"),
        ("[]", "it names no network"),
        ('{"name": 3, "plugins": [{"type": "a"}]}', "it names no network"),
        ('{"name": "a"}', "it lists no plugins"),
        ('{"name": "a", "plugins": []}', "it lists no plugins"),
        ('{"name": "a", "plugins": ["b"]}', "a plugin has no type"),
        ('{"name": "a", "plugins": [{}]}', "a plugin has no type"),
    ],
)
def test_a_file_that_holds_no_network_is_named_with_what_is_wrong(
    tmp_path: Path, content: str, why: str
) -> None:
    (tmp_path / "10-a.conflist").write_text(content)
    assert network_of(tmp_path).why_not.startswith(f"{NOTHING_THERE} (10-a.conflist: {why}")


def test_the_first_file_by_name_that_can_be_read_counts(tmp_path: Path) -> None:
    (tmp_path / "00-broken.conflist").write_text("{")
    (tmp_path / "10-first.conflist").write_text(LOOPBACK.replace("loopback", "first"))
    (tmp_path / "20-second.conflist").write_text(LOOPBACK.replace("loopback", "second"))
    (tmp_path / "05-half.conflist.partial").write_text(LOOPBACK.replace("loopback", "half"))
    (tmp_path / "05-folder.conf").mkdir()
    for number in range(30, 60):
        (tmp_path / f"{number}-later.conflist").write_text(LOOPBACK.replace("loopback", "later"))
    assert network_of(tmp_path) == Network("first")


def test_a_node_without_its_network_says_so_in_the_words_of_the_kubelet(tmp_path: Path) -> None:
    settings = NodeSettings("n1", tmp_path, network_directory=tmp_path / "net.d")
    node = node_object(settings, "process", NOW, network_of(settings.network_directory))
    assert node["spec"] == {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}]}
    ready = next(each for each in node["status"]["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
    assert ready["message"] == (
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
        f"message:{NOTHING_THERE}"
    )


def test_a_node_that_needs_no_network_agent_registers_as_it_always_did(tmp_path: Path) -> None:
    node = node_object(NodeSettings("n1", tmp_path), "process", NOW)
    assert node["spec"] == {}
    assert [each["type"] for each in node["status"]["conditions"]][-1] == "Ready"
    assert condition_of(node, "Ready") == "True" and condition_of(node, "NetworkReady") == ""


def test_only_pods_of_the_hosts_network_go_without_one() -> None:
    down = Network(why_not="none")
    assert must_wait(a_pod(), down) and not must_wait(a_pod(hostNetwork=True), down)
    assert not must_wait(a_pod(), Network("loopback"))


def test_nodes_of_one_machine_have_addresses_of_their_own() -> None:
    addresses = {own_address("c", f"n{number}") for number in range(100)}
    assert len(addresses) == 100 and own_address("c", "n1") == own_address("c", "n1")


class Sandboxes(SimulatedRuntime):
    """A simulated runtime that knows whom it has ever given a sandbox."""

    opened: frozenset[str] = frozenset()

    def open(self, pod: Object, address: str, now: Milliseconds) -> Sandbox:
        self.opened |= {name_of(pod)}
        return super().open(pod, address, now)


class Site:
    """A node that waits for its network, on a control plane in memory."""

    def __init__(self, directory: Path, heartbeat_seconds: float = 0.05) -> None:
        self.network = directory / "net.d"
        self.control = MemoryControlPlane()
        self.is_wanted = True
        settings = NodeSettings(
            "n1",
            directory,
            address="127.9.9.9",
            heartbeat_seconds=heartbeat_seconds,
            network_directory=self.network,
        )
        self.agent = Agent(
            settings,
            self.control,
            self.make_runtime,
            is_wanted=lambda: self.is_wanted,
        )
        self.agent.start()

    def make_runtime(self, on_exit: OnExit) -> Sandboxes:
        self.runtime = Sandboxes(on_exit, wall_clock)
        return self.runtime

    def put_network(self) -> None:
        self.network.mkdir(exist_ok=True)
        (self.network / "10-loopback.conflist").write_text(LOOPBACK)

    def remove_network(self) -> None:
        (self.network / "10-loopback.conflist").unlink()

    def node(self) -> Object:
        return self.control.get("core/nodes", "", "n1") or {}

    def is_node_ready(self) -> bool:
        return condition_of(self.node(), "Ready") == "True"

    def pod(self, pod: Object) -> Object:
        return self.control.get("core/pods", "default", name_of(pod)) or {}

    def is_ready(self, pod: Object) -> bool:
        return condition_of(self.pod(pod), "Ready") == "True"

    def why_held(self, pod: Object) -> str:
        conditions = (self.pod(pod).get("status") or {}).get("conditions") or ()
        held = [each for each in conditions if each.get("reason") == "NetworkNotReady"]
        return str(held[0]["message"]) if held else ""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.agent.stop()
    site.agent.join(10)


def test_a_pod_waits_for_the_network_and_says_so_and_one_of_the_hosts_network_does_not(site: Site) -> None:
    agent = site.control.put(a_pod("net-agent", hostNetwork=True))
    pod = site.control.put(a_pod("db-0"))
    eventually(lambda: site.is_ready(agent))
    assert site.pod(agent)["status"]["podIP"] == "127.9.9.9"
    eventually(lambda: site.why_held(pod))
    assert site.why_held(pod).startswith("network is not ready: container runtime network not ready")
    later = site.control.put(a_pod("later", hostNetwork=True))
    eventually(lambda: site.is_ready(later))
    assert not site.is_node_ready() and site.pod(pod)["status"]["phase"] == "Pending"
    assert site.runtime.opened == {"net-agent", "later"}

    site.put_network()

    eventually(lambda: site.is_node_ready() and site.is_ready(pod))
    assert condition_of(site.node(), "NetworkReady") == "True"
    assert site.why_held(pod) == ""


def test_a_network_that_comes_is_told_at_once_and_not_with_the_next_heartbeat(tmp_path: Path) -> None:
    site = Site(tmp_path, heartbeat_seconds=60)
    eventually(site.node)
    site.put_network()
    eventually(site.is_node_ready, 5)
    site.agent.stop()
    site.agent.join(10)


def test_a_node_whose_network_goes_is_not_ready_and_its_pods_run_on(site: Site) -> None:
    site.put_network()
    pod = site.control.put(a_pod("db-0"))
    eventually(lambda: site.is_node_ready() and site.is_ready(pod))

    site.remove_network()

    eventually(lambda: not site.is_node_ready())
    late = site.control.put(a_pod("db-1"))
    eventually(lambda: site.why_held(late))
    assert site.is_ready(pod)
    site.put_network()
    eventually(lambda: site.is_node_ready() and site.is_ready(late))


def test_a_node_that_is_wanted_again_before_its_object_was_deleted_stays(site: Site) -> None:
    site.put_network()
    eventually(site.is_node_ready)
    site.is_wanted = False
    site.agent.leave()
    site.is_wanted = True
    site.remove_network()
    eventually(lambda: not site.is_node_ready())
    site.control.remove(site.node())
    eventually(site.node)
    assert not site.agent.has_left


def test_a_node_that_is_to_leave_ends_its_pods_once_its_object_is_gone_and_then_itself(site: Site) -> None:
    site.put_network()
    pod = site.control.put(a_pod("db-0"))
    eventually(lambda: site.is_ready(pod))

    site.is_wanted = False
    site.agent.leave()
    late = site.control.put(a_pod("db-1"))
    eventually(lambda: site.is_ready(late))
    assert not site.agent.has_left
    site.control.remove(site.node())

    eventually(lambda: site.agent.has_left)
    site.agent.join(10)
    assert site.control.list("core/pods") == [] and site.node() == {}


def test_a_node_that_is_wanted_no_more_is_not_registered_again(site: Site) -> None:
    """Also where its agent has not been told yet."""
    eventually(site.node)
    site.is_wanted = False
    site.control.remove(site.node())

    eventually(lambda: site.agent.has_left)
    assert site.node() == {}
