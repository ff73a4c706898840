"""The agent on real processes: what is observed is what /proc, sockets and files say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import LostHistory, Unavailable
from schemas.objects import Object, labels_of, uid_of, with_fields, with_metadata
from services.agent.agent import Agent, steady_clock, wall_clock
from services.agent.images import ImageStore
from services.agent.logs import log_path, read_log
from services.agent.nodes import NodeSettings
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.zygotes import Zygote
from tests.services.agent.builders import a_container, a_pod, a_python, a_service, terminating
from tests.services.agent.fakes import MemoryControlPlane, eventually

pytestmark = pytest.mark.e2e


SERVE = """
import http.server, os
address = (os.environ["POD_IP"], 8080)
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


class Site:
    """A node with an agent, on a control plane in memory."""

    def __init__(self, directory: Path, clock: Callable[[], int] = wall_clock) -> None:
        self.clock = clock
        self.directory = directory
        self.images = directory / "images"
        self.images.mkdir()
        self.control = MemoryControlPlane()
        self.zygote = Zygote()
        self.most_processes: int | None = None
        self.agent = self.begin()

    @property
    def node(self) -> Path:
        return self.directory / "n1"

    def make(self) -> Agent:
        return Agent(
            NodeSettings("n1", self.node, heartbeat_seconds=0.5),
            self.control,
            lambda on_exit: ProcessRuntime(
                self.node,
                ImageStore(self.images),
                self.zygote,
                on_exit,
                most_processes=self.most_processes,
            ),
            self.clock,
        )

    def begin(self) -> Agent:
        agent = self.make()
        agent.start()
        return agent

    def restart(self) -> None:
        self.agent.stop()
        self.agent.join(10)
        self.agent = self.begin()

    def close(self) -> None:
        """End the agent with all that it runs."""
        self.agent.stop(pods_grace=0.2)
        self.agent.join(15)
        self.zygote.close()

    def pod(self, pod: Object) -> Object:
        found = self.control.get("core/pods", "default", pod["metadata"]["name"])
        return found if found and uid_of(found) == uid_of(pod) else {}

    def status(self, pod: Object) -> Object:
        return dict(self.pod(pod).get("status") or {})

    def container(self, pod: Object, index: int = 0) -> Object:
        return dict((self.status(pod).get("containerStatuses") or [{}] * (index + 1))[index])

    def is_ready(self, pod: Object) -> bool:
        conditions = self.status(pod).get("conditions") or ()
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def reason(self, pod: Object) -> str:
        return str((self.container(pod).get("state") or {}).get("waiting", {}).get("reason", ""))

    def lines(self, pod: Object, container: str = "main", previous: bool = False) -> list[str]:
        path = log_path(self.node, uid_of(pod), container, previous)
        return [line.text.decode() for line in read_log(path)]

    def delete(self, pod: Object, grace: int = 5) -> None:
        self.control.put(terminating(self.pod(pod), grace))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()
    left = marked(tmp_path)
    assert not left, f"left behind: {left}"


def marked(directory: Path) -> list[str]:
    """The command lines of all processes that carry this directory in their environment or arguments."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                text = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in text:
                found.append(Path(f"/proc/{name}/cmdline").read_text())
    return found


def processes_of(pod: Object) -> list[int]:
    mark = f"CHRONOSET_CONTAINER=process://{uid_of(pod)}/".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if mark in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found


def test_a_pod_runs_and_says_so_in_the_shape_of_kubernetes(site: Site) -> None:
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))
    status = site.status(pod)
    assert status["phase"] == "Running" and status["qosClass"] == "BestEffort"
    assert status["podIP"].startswith("127.") and status["podIPs"] == [{"ip": status["podIP"]}]
    container = status["containerStatuses"][0]
    assert container["ready"] and container["started"] and container["restartCount"] == 0
    assert container["imageID"].startswith("sha256:") and "running" in container["state"]
    assert {"type": "ImageVerified", "status": "False"}.items() <= next(
        c for c in status["conditions"] if c["type"] == "ImageVerified"
    ).items()
    assert site.control.get("core/nodes", "", "n1") is not None
    eventually(lambda: site.control.heartbeats.get("n1", 0) >= 2)


def test_several_containers_share_the_pods_address(site: Site) -> None:
    call = """
import os, socket, time
while True:
    try:
        socket.create_connection((os.environ["POD_IP"], 8080))
        print("reached", flush=True)
    except OSError:
        pass
    time.sleep(0.1)
"""
    pod = site.control.put(a_pod("two-0", a_python(SERVE, "server"), a_python(call, "client")))
    eventually(lambda: site.is_ready(pod))
    eventually(lambda: "reached" in site.lines(pod, "client"))
    assert [c["name"] for c in site.status(pod)["containerStatuses"]] == ["server", "client"]


@pytest.mark.parametrize(
    "action",
    [
        {"httpGet": {"path": "/", "port": "web"}},
        {"tcpSocket": {"port": 8080}},
        {"exec": {"command": ["sh", "-c", "test -e $HOME/up"]}},
    ],
    ids=["httpGet", "tcpSocket", "exec"],
)
def test_a_pod_is_ready_only_when_its_readiness_probe_passes(site: Site, action: Object) -> None:
    serve = f"import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\nopen('up', 'w')\n{SERVE}"
    ports = [{"name": "web", "containerPort": 8080}]
    pod = site.control.put(
        a_pod("web-0", a_python(serve, readinessProbe={**action, "periodSeconds": 1}, ports=ports))
    )
    eventually(lambda: "running" in site.container(pod).get("state", {}))
    assert not site.is_ready(pod)
    assert site.status(pod)["phase"] == "Running"
    (site.node / "pods" / uid_of(pod) / "containers/main/work/go").touch()
    eventually(lambda: site.is_ready(pod), 5)


def test_a_crashing_container_is_restarted_at_once_and_then_backed_off(site: Site) -> None:
    pod = site.control.put(a_pod("crash-0", a_container(script="echo dying; exit 3")))
    eventually(lambda: site.reason(pod) == "CrashLoopBackOff")
    container = site.container(pod)
    assert container["restartCount"] == 1 and not container["ready"]
    assert container["lastState"]["terminated"] | {"startedAt": "", "finishedAt": "", "containerID": ""} == {
        "exitCode": 3,
        "reason": "Error",
        "startedAt": "",
        "finishedAt": "",
        "containerID": "",
    }
    assert "back-off 10s restarting failed container=main" in container["state"]["waiting"]["message"]
    assert site.status(pod)["phase"] == "Running"
    assert site.lines(pod) == ["dying"] and site.lines(pod, previous=True) == ["dying"]


@pytest.mark.parametrize(("policy", "code", "phase"), [("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")])
def test_a_pod_that_is_not_restarted_ends(site: Site, policy: str, code: int, phase: str) -> None:
    pod = site.control.put(a_pod("job", a_container(script=f"exit {code}"), restartPolicy=policy))
    eventually(lambda: site.status(pod).get("phase") == phase)
    assert site.container(pod)["state"]["terminated"]["exitCode"] == code


def test_a_program_that_does_not_exist_is_a_start_error(site: Site) -> None:
    pod = site.control.put(a_pod("none-0", a_container(command=["no-such-program"])))
    eventually(lambda: site.reason(pod) == "CrashLoopBackOff")
    ended = site.container(pod)["lastState"]["terminated"]
    assert (
        ended["exitCode"] == 128 and ended["reason"] == "StartError" and "no-such-program" in ended["message"]
    )


def test_deletion_ends_everything_the_pod_started(site: Site) -> None:
    """A child with a session of its own and a program that ignores TERM are ended too, within the grace period."""
    script = "trap '' TERM; (setsid sleep 1000 &) ; while true; do sleep 1; done"
    pod = site.control.put(a_pod("tree-0", a_container(script=script)))
    eventually(lambda: len(processes_of(pod)) >= 3)
    site.delete(pod, grace=1)
    began = time.monotonic()
    eventually(lambda: not site.pod(pod))
    assert 0.8 < time.monotonic() - began < 4
    assert processes_of(pod) == []
    eventually(lambda: not (site.node / "pods" / uid_of(pod)).exists())


def test_a_pod_that_forks_for_ever_is_killed_whole(site: Site) -> None:
    """Every process forks another and ends: by the time one is seen in /proc it is gone, its group is not."""
    chain = """
import os, time
if os.fork():
    time.sleep(1000)
open("up", "w").close()
while True:
    if os.fork():
        os._exit(0)
"""
    pod = site.control.put(a_pod("fork-0", a_python(chain)))
    eventually((site.node / "pods" / uid_of(pod) / "containers/main/work/up").exists)
    site.delete(pod, grace=0)
    eventually(lambda: not site.pod(pod), 5)
    assert processes_of(pod) == []


def test_endless_output_is_kept_within_bounds(site: Site, tmp_path: Path) -> None:
    """The log is moved aside at 10 MiB, of which one older file stays; the program never waits for good."""
    pod = site.control.put(a_pod("yes-0", a_container(script="yes $(seq 300); sleep 1000")))
    run = site.node / "pods" / uid_of(pod) / "containers/main/0"
    eventually((run / "log.1").exists, 30)
    inode = (run / "log.1").stat().st_ino
    eventually(lambda: (run / "log.1").stat().st_ino != inode, 30)
    sizes = {path.name: path.stat().st_size for path in run.glob("log*")}
    assert set(sizes) <= {"log", "log.1"} and max(sizes.values()) < 12 << 20
    site.delete(pod, grace=0)
    eventually(lambda: not site.pod(pod), 5)


def test_an_environment_too_large_for_the_machine_is_a_start_error(site: Site) -> None:
    env = [{"name": f"V{number}", "value": "x" * 100_000} for number in range(40)]
    pod = site.control.put(a_pod("huge-0", a_container(env=env)))
    eventually(lambda: site.reason(pod) == "CrashLoopBackOff")
    assert "Argument list too long" in site.container(pod)["lastState"]["terminated"]["message"]


def test_a_mount_path_that_climbs_out_is_refused(site: Site) -> None:
    mount = [{"name": "scratch", "mountPath": "/../../escaped"}]
    volumes = [{"name": "scratch", "emptyDir": {}}]
    pod = site.control.put(a_pod("out-0", a_container(volumeMounts=mount), volumes=volumes))
    eventually(lambda: site.reason(pod) == "CreateContainerConfigError")
    assert not list(site.node.rglob("escaped"))


def test_two_agents_cannot_run_one_node(site: Site) -> None:
    with pytest.raises(Unavailable, match="another agent runs node 'n1'"):
        site.begin()


def test_a_node_whose_directory_cannot_be_written_says_which(tmp_path: Path) -> None:
    (tmp_path / "n1").write_text("no folder")
    with pytest.raises(Unavailable, match=r"node 'n1' cannot write to its directory: .*n1"):
        Agent(NodeSettings("n1", tmp_path / "n1"), MemoryControlPlane(), lambda _: 1 / 0)  # type: ignore[arg-type, return-value]


def test_an_image_store_that_does_not_exist_knows_no_image(site: Site) -> None:
    site.images.rmdir()
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))


def test_a_hosts_file_that_cannot_be_written_ends_no_agent(site: Site) -> None:
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))
    hosts = site.node / "pods" / uid_of(pod) / "hosts"
    hosts.unlink()
    hosts.mkdir()
    labels = {"app": "db"}
    with capture_logs() as logs:
        site.control.put(a_service())
        other = site.control.put(a_pod("db-1", labels=labels, hostname="db-1", subdomain="db"))
        eventually(lambda: site.is_ready(other))
        eventually(lambda: [entry for entry in logs if entry["event"].startswith("hosts files")])
    hosts.rmdir()
    eventually(lambda: hosts.is_file() and "db-1" in hosts.read_text())


def test_an_agent_that_fails_says_so_and_ends_no_pod(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))
    before = processes_of(pod)
    site.agent.stop()
    site.agent.join(10)
    ended = threading.Event()
    monkeypatch.setattr(site.control, "pods_on", lambda _: 1 / 0)
    agent = site.make()
    with capture_logs():
        agent.start(on_end=ended.set)
        assert ended.wait(10)
    assert isinstance(agent.failure, ZeroDivisionError) and processes_of(pod) == before
    monkeypatch.undo()
    site.agent = site.begin()
    eventually(lambda: site.is_ready(pod))


def test_heartbeats_that_cannot_be_written_keep_no_pod_waiting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise Unavailable("the queue is gone")

    monkeypatch.setattr(site.control, "heartbeat", refuse)
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))


def test_a_program_may_end_itself_within_the_grace_period(site: Site) -> None:
    kept = site.directory / "kept"
    script = f"trap 'echo bye > {kept}; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    pod = site.control.put(a_pod("kind-0", a_container(script=script)))
    eventually(lambda: site.is_ready(pod) and site.lines(pod))
    site.delete(pod, grace=30)
    eventually(lambda: not site.pod(pod), 5)
    assert kept.read_text() == "bye\n"


def test_a_pod_whose_object_was_removed_by_force_is_ended_before_its_successor_begins(site: Site) -> None:
    marker = site.directory / "overlap"
    go = site.directory / "go"
    ends = f"while ! test -e {go}; do sleep 0.02; done; rmdir {marker}; exit 0"
    clean = f"trap '{ends}' TERM; mkdir {marker}; while true; do sleep 0.05; done"
    script = f"mkdir {marker} || echo overlap; sleep 1000"
    first = site.control.put(a_pod("db-0", a_container(script=clean)))
    eventually(marker.exists)
    site.control.remove(first)
    second = site.control.put(a_pod("db-0", a_container(script=script)))
    other = site.control.put(a_pod("other-0", a_container(script="sleep 1000")))
    eventually(lambda: site.is_ready(other))
    go.touch()
    eventually(lambda: site.is_ready(second))
    eventually(marker.exists)
    assert "overlap" not in site.lines(second)
    assert site.status(second)["podIP"].startswith("127.")


def test_an_agent_that_is_started_again_adopts_its_pods(site: Site) -> None:
    lives = site.control.put(a_pod("lives-0", a_container(script="echo one; sleep 1000")))
    dies = site.control.put(
        a_pod("dies-0", a_container(script="while ! test -e go; do sleep 0.05; done; exit 7"))
    )
    eventually(lambda: site.is_ready(lives) and site.is_ready(dies))
    before = processes_of(lives)
    status = site.status(lives)
    site.agent.stop()
    site.agent.join(10)
    (site.node / "pods" / uid_of(dies) / "containers/main/work/go").touch()
    exit_file = site.node / "pods" / uid_of(dies) / "containers/main/0/exit.json"
    eventually(exit_file.exists)
    site.agent = site.begin()
    eventually(lambda: site.container(dies).get("restartCount") == 1)
    assert site.container(dies)["lastState"]["terminated"]["exitCode"] == 7
    assert processes_of(lives) == before
    assert site.status(lives) == status
    site.delete(lives, grace=0)
    eventually(lambda: not site.pod(lives))
    assert processes_of(lives) == []


def test_a_lost_zygote_is_started_anew(site: Site) -> None:
    first = site.control.put(a_pod("a-0"))
    eventually(lambda: site.is_ready(first))
    os.kill(site.zygote.pid, signal.SIGKILL)
    second = site.control.put(a_pod("b-0"))
    eventually(lambda: site.is_ready(second))
    assert processes_of(first)


def test_a_container_whose_shim_is_killed_leaves_nothing_behind(site: Site) -> None:
    pod = site.control.put(a_pod("shim-0", a_container(script="(setsid sleep 1000 &); sleep 1000")))
    eventually(lambda: len(processes_of(pod)) >= 3)
    before = processes_of(pod)
    shim = int(Path(f"/proc/{min(before)}/stat").read_text().split()[3])
    os.kill(shim, signal.SIGKILL)
    eventually(lambda: site.container(pod).get("restartCount") == 1)
    assert site.container(pod)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert not set(before) & set(processes_of(pod))


@pytest.mark.parametrize("error", [Unavailable("gone"), LostHistory("foreign log")])
def test_an_agent_holds_still_while_the_control_plane_cannot_be_trusted(
    site: Site, error: Unavailable | LostHistory
) -> None:
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))
    before = processes_of(pod)
    with capture_logs() as logs:
        site.control.refuse_with(error)
        site.restart()
        site.control.remove(pod)
        eventually(lambda: [entry for entry in logs if entry["event"].startswith("holding still")])
        site.control.put(pod)
        site.control.refuse_with(None)
        eventually(lambda: [entry for entry in logs if entry["event"] == "the control plane is back"])
    assert processes_of(pod) == before
    eventually(lambda: site.is_ready(pod))


def test_a_log_that_is_not_the_one_worked_for_stops_no_pod(site: Site) -> None:
    pod = site.control.put(a_pod())
    eventually(lambda: site.is_ready(pod))
    before = processes_of(pod)
    real, site.control = site.control, MemoryControlPlane("log-2")
    with capture_logs() as logs:
        site.restart()
        eventually(lambda: [entry for entry in logs if "worked for the log log-1" in entry.get("error", "")])
    assert processes_of(pod) == before
    site.control = real
    site.restart()
    site.delete(pod, grace=0)
    eventually(lambda: not site.pod(pod))


def test_images_come_from_the_store(site: Site) -> None:
    tree = site.images / "db" / "5.7.2"
    tree.mkdir(parents=True)
    (tree / "serve").write_text("#!/bin/sh\necho version $IMAGE_DIR; exec sleep 1000\n")
    (tree / "serve").chmod(0o755)
    good = site.control.put(a_pod("db-0", a_container(image="db:5.7.2", command=["serve"])))
    bad = site.control.put(a_pod("db-1", a_container(image="db:5.7.99", command=["serve"])))
    eventually(lambda: site.is_ready(good))
    eventually(lambda: site.reason(bad) == "ErrImagePull")
    eventually(lambda: site.reason(bad) == "ImagePullBackOff")
    assert site.status(bad)["phase"] == "Pending" and site.container(bad)["imageID"] == ""
    assert site.lines(good) == [f"version {tree}"]
    assert not any(c["type"] == "ImageVerified" for c in site.status(good)["conditions"])
    assert site.container(good)["imageID"] == ImageStore(site.images).digest_of(tree)


def test_the_environment_has_values_fields_and_expansion(site: Site) -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(NOPE)-$$(A)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    container = a_container(
        env=env, command=["sh", "-c", "echo $B $NODE $IP; echo $0; sleep 1000"], args=["$(A)x"]
    )
    pod = site.control.put(a_pod("env-0", container))
    eventually(lambda: len(site.lines(pod)) == 2 if site.is_ready(pod) else False)
    assert site.lines(pod) == [f"1-$(NOPE)-$(A) n1 {site.status(pod)['podIP']}", "1x"]


def test_volumes_live_as_long_as_they_should(site: Site) -> None:
    """An emptyDir outlives its container, a claim's directory its pod."""
    site.control.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "pv-1"},
            "spec": {"local": {"path": "volumes/pv-1"}},
        }
    )
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
    ]
    mounts = [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "data", "mountPath": "/data"},
    ]
    script = (
        "echo x >> scratch/f; echo x >> data/f; wc -l < $VOLUME_SCRATCH/f; wc -l < $VOLUME_DATA/f; sleep 1000"
    )
    container = a_container(script=script, volumeMounts=mounts)
    first = site.control.put(a_pod("db-0", container, volumes=volumes))
    eventually(lambda: "not bound" in str(site.container(first).get("state")))
    site.control.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-db-0", "namespace": "default"},
            "spec": {"volumeName": "pv-1"},
        }
    )
    eventually(lambda: site.is_ready(first) and len(site.lines(first)) == 2)
    for pid in processes_of(first):
        with suppress(ProcessLookupError):  # the program's end is its children's too
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: site.container(first)["restartCount"] == 1 and len(site.lines(first)) == 2)
    assert site.lines(first) == ["2", "2"]
    site.delete(first, grace=0)
    eventually(lambda: not site.pod(first))
    second = site.control.put(a_pod("db-0", container, volumes=volumes))
    eventually(lambda: site.is_ready(second) and len(site.lines(second)) == 2)
    assert site.lines(second) == ["1", "3"]


def test_a_pod_reaches_its_peer_by_name_within_a_second(site: Site) -> None:
    site.control.put(a_service())
    script = """
import socket, time
while True:
    try:
        print(socket.gethostbyname("db-1.db"), flush=True)
        time.sleep(1000)
    except OSError:
        time.sleep(0.05)
"""
    labels = {"app": "db"}
    first = site.control.put(a_pod("db-0", a_python(script), labels=labels, hostname="db-0", subdomain="db"))
    eventually(lambda: site.is_ready(first))
    second = site.control.put(a_pod("db-1", labels=labels, hostname="db-1", subdomain="db"))
    eventually(lambda: site.is_ready(second))
    hosts = site.node / "pods" / uid_of(first) / "hosts"
    address = site.status(second)["podIP"]
    eventually(lambda: f"{address} db-1.db.default.svc.cluster.local" in hosts.read_text(), 1)
    if Path("/proc/self/ns/user").exists() and os.getuid() == 0:
        eventually(lambda: site.lines(first) == [address], 2)


def test_a_failing_liveness_probe_restarts_the_container(site: Site) -> None:
    probe = {
        "exec": {"command": ["sh", "-c", "test ! -e $HOME/sick"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    pod = site.control.put(
        a_pod("live-0", a_container(script="rm -f sick; echo up; exec sleep 1000", livenessProbe=probe))
    )
    eventually(lambda: site.is_ready(pod) and site.lines(pod))
    (site.node / "pods" / uid_of(pod) / "containers/main/work/sick").touch()
    eventually(lambda: site.container(pod)["restartCount"] == 1)
    assert site.container(pod)["lastState"]["terminated"]["exitCode"] == 143


@pytest.mark.parametrize("off", [3_600_000, -3_600_000])
def test_a_container_is_probed_and_restarted_though_its_times_are_an_hour_off(
    tmp_path: Path, off: int
) -> None:
    """The machine's clock was set while the agent ran, or before it was started again; what it runs goes by the new."""
    site = Site(tmp_path, clock=lambda: wall_clock() + off)
    try:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
        script = "echo up; while ! test -e go; do sleep 0.02; done; rm go; exit 1"
        pod = site.control.put(a_pod("db-0", a_container(script=script, readinessProbe=probe)))
        eventually(lambda: site.is_ready(pod))
        site.restart()
        (site.node / "pods" / uid_of(pod) / "containers/main/work/go").touch()
        eventually(lambda: site.container(pod).get("restartCount") == 1 and site.is_ready(pod))
    finally:
        site.close()


def test_an_agent_is_heard_though_its_clock_is_set_back(tmp_path: Path) -> None:
    back = [0]
    site = Site(tmp_path, clock=lambda: wall_clock() - back[0])
    try:
        eventually(lambda: site.control.heartbeats.get("n1"))
        back[0] = 3_600_000
        before = site.control.heartbeats["n1"]
        eventually(lambda: site.control.heartbeats["n1"] >= before + 2)
    finally:
        site.close()


def test_a_steady_clock_goes_on_though_the_machines_is_set() -> None:
    wall, up = [1_000_000], [50]
    clock = steady_clock(lambda: wall[0], lambda: up[0])
    wall[0], up[0] = -3_600_000, 60
    assert clock() == 1_000_010
    assert abs(steady_clock()() - wall_clock()) < 1_000


def test_a_pod_that_does_not_belong_here_is_rejected(site: Site) -> None:
    pod = site.control.put(a_pod("far-0", nodeSelector={"disk": "ssd"}))
    eventually(lambda: site.status(pod).get("phase") == "Failed")
    assert site.status(pod)["reason"] == "NodeAffinity"


def test_labels_that_people_give_a_node_count_for_its_pods(site: Site) -> None:
    eventually(lambda: site.control.node_now("n1") is not None)
    node = site.control.node_now("n1")
    assert node is not None
    site.control.put(with_metadata(node, labels={**labels_of(node), "disk": "ssd"}))
    pod = site.control.put(a_pod("near-0", nodeSelector={"disk": "ssd"}))
    eventually(lambda: site.is_ready(pod))


def test_a_pod_that_is_bound_for_a_label_that_was_not_heard_of_yet_is_taken(site: Site) -> None:
    """Nodes and pods are told by two watches, so a node asks before it sends a pod away."""
    eventually(lambda: site.control.node_now("n1") is not None)
    told = site.control.node_now("n1")
    assert told is not None
    site.control.node_now = lambda _: with_metadata(told, labels={**labels_of(told), "disk": "ssd"})  # type: ignore[method-assign, assignment]
    pod = site.control.put(a_pod("near-0", nodeSelector={"disk": "ssd"}))
    eventually(lambda: site.is_ready(pod))


def test_a_pod_that_does_not_tolerate_what_would_end_it_is_rejected(site: Site) -> None:
    eventually(lambda: site.control.node_now("n1") is not None)
    node = site.control.node_now("n1")
    assert node is not None
    site.control.put(with_fields(node, spec={"taints": [{"key": "maintenance", "effect": "NoExecute"}]}))
    pod = site.control.put(a_pod("here-0"))
    eventually(lambda: site.status(pod).get("phase") == "Failed")
    assert site.status(pod)["reason"] == "TaintToleration"


_PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from services.agent.agent import Agent
from services.agent.images import ImageStore
from services.agent.nodes import NodeSettings
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.zygotes import Zygote
from tests.services.agent.fakes import MemoryControlPlane
from tests.services.agent.builders import a_pod
control = MemoryControlPlane()
control.put(a_pod(uid="u-1"))
node = Path({node!r})
agent = Agent(NodeSettings("n1", node), control, lambda f: ProcessRuntime(node, ImageStore(None), Zygote(), f))
agent.start()
time.sleep(1000)
"""


def test_pods_outlive_an_agent_that_is_killed(site: Site) -> None:
    """kill -9 of the whole agent process: its pod runs on, the next agent takes it over and ends it."""
    site.agent.stop()
    site.agent.join(10)
    root = str(Path(__file__).parents[3])
    program = subprocess.Popen([sys.executable, "-c", _PROGRAM.format(root=root, node=str(site.node))])
    pod = a_pod(uid="u-1")
    eventually(lambda: processes_of(pod))
    before = processes_of(pod)
    program.kill()
    program.wait()
    site.control.put(pod)
    site.agent = site.begin()
    eventually(lambda: site.is_ready(pod))
    assert processes_of(pod) == before and site.container(pod)["restartCount"] == 0
    site.delete(pod, grace=0)
    eventually(lambda: not site.pod(pod))
    assert processes_of(pod) == []
