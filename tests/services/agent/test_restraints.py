"""Pods that are held to what their specification says, on real processes: limits, identities, mounts, messages."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import NotFound
from schemas.objects import Object, uid_of
from services.agent import inspections
from services.agent.images import ImageStore
from services.agent.runtimes.cgroups import Hierarchy
from services.agent.runtimes.endings import LOG_LIMIT, MESSAGE_LIMIT
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.restraints import Abilities, remarks_on
from tests.services.agent.builders import a_container, a_pod, a_python
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import Site, marked, processes_of

pytestmark = pytest.mark.e2e

BLOCK = "64k"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(inspections, "PERIOD", 200)
    site = Site(tmp_path)
    yield site
    site.close()
    assert not marked(tmp_path)


def abilities(directory: Path, site: Site) -> Abilities:
    probe = ProcessRuntime(directory, ImageStore(None), site.zygote, lambda *_: None)
    probe.shut_down()
    return probe._abilities


def needs_groups(site: Site, tmp_path: Path, *controllers: str) -> None:
    hierarchy = abilities(tmp_path / "probe", site).hierarchy
    for controller in controllers:
        if controller not in hierarchy.bases:
            pytest.skip(f"NOT TESTED: no control groups here: {hierarchy.refusals[controller]}")


def needs_read_only(site: Site, tmp_path: Path) -> None:
    if not abilities(tmp_path / "probe", site).can_protect:
        pytest.skip("NOT TESTED: this machine allows no read-only mounts")


def needs_root() -> None:
    if os.getuid() != 0:
        pytest.skip("NOT TESTED: only root gives files to other groups")


def limited(**limits: str) -> Object:
    return {"limits": limits}


def last_end(site: Site, pod: Object) -> Object:
    container = site.container(pod)
    states = [container.get("state") or {}, container.get("lastState") or {}]
    return next((state["terminated"] for state in states if "terminated" in state), {})


def condition(site: Site, pod: Object, kind: str) -> Object:
    conditions = site.status(pod).get("conditions") or ()
    return next((dict(each) for each in conditions if each["type"] == kind), {})


def printed(site: Site, pod: Object) -> list[str]:
    """The lines that the pod has printed so far."""
    try:
        lines = site.lines(pod)
    except NotFound:
        return []
    return [line.decode() if isinstance(line, bytes) else line for line in lines]


def groups_of(pod: Object) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/chronoset/*/{uid_of(pod)}/main.*"))


# --- limits


def test_a_container_that_takes_more_memory_than_its_limit_is_oom_killed(site: Site, tmp_path: Path) -> None:
    needs_groups(site, tmp_path, "memory")
    hog = a_python("x = b'x' * (256 << 20); print(len(x))", resources=limited(memory="48Mi"))
    other = site.control.put(a_pod("other"))
    pod = site.control.put(a_pod("hog", hog, restartPolicy="Never"))
    eventually(lambda: site.status(pod).get("phase") == "Failed")
    end = last_end(site, pod)
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)
    assert condition(site, pod, "LimitsEnforced") == {}
    assert site.is_ready(other) and not groups_of(pod)


def test_a_container_within_its_limits_is_in_its_groups_until_it_ends(site: Site, tmp_path: Path) -> None:
    needs_groups(site, tmp_path, "memory", "cpu")
    script = "cat /proc/self/cgroup; exec sleep 1000"
    pod = site.control.put(
        a_pod("p", a_container(script=script, resources=limited(memory="64Mi", cpu="250m")))
    )
    eventually(lambda: site.is_ready(pod))
    assert f"/{uid_of(pod)}/main.0" in eventually(lambda: "".join(printed(site, pod)))
    values = {
        path.name: path.read_text().strip()
        for group in groups_of(pod)
        for path in group.iterdir()
        if path.name in ("memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max")
    }
    assert set(values.values()) in ({str(64 << 20), "25000"}, {str(64 << 20), "25000 100000"})
    site.restart()
    eventually(lambda: site.agent._intake.is_adopted)
    assert groups_of(pod), "an agent that is restarted leaves the groups of what runs"
    site.delete(pod)
    eventually(lambda: not site.pod(pod))
    assert not groups_of(pod)


def test_what_is_left_of_a_container_whose_shim_was_killed_goes_with_its_groups(
    site: Site, tmp_path: Path
) -> None:
    needs_groups(site, tmp_path, "memory")
    script = "(setsid env -i sleep 1000 &) ; exec sleep 1000"
    pod = site.control.put(
        a_pod("p", a_container(script=script, resources=limited(memory="64Mi")), restartPolicy="Never")
    )
    eventually(lambda: site.is_ready(pod))
    procs = groups_of(pod)[0] / "cgroup.procs"
    assert eventually(lambda: len(procs.read_text().split()) == 2)
    shims = {_parent_of(pid) for pid in processes_of(pod)}
    site.agent.stop()
    site.agent.join(10)
    for shim in shims:
        os.kill(shim, 9)
    site.agent = site.begin()
    eventually(lambda: site.status(pod).get("phase") == "Failed")
    assert not groups_of(pod), "and with them what had hidden its mark"


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


BOMB = """
import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0:
            time.sleep(1000)
        n += 1
except OSError as error:
    print(n, error.errno, flush=True)
time.sleep(1000)
"""


def test_a_pod_has_no_more_processes_than_its_node_allows(site: Site, tmp_path: Path) -> None:
    needs_groups(site, tmp_path, "pids")
    site.agent.stop()
    site.agent.join(10)
    site.most_processes = 20
    site.agent = site.begin()
    pod = site.control.put(a_pod("bomb", a_python(BOMB)))
    eventually(lambda: "19 11" in "".join(printed(site, pod)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"resources": {"requests": {"memory": "1Mi"}}}, ""),
        ({"resources": {"limits": {"memory": "1Mi"}}}, "nothing enforces limits.memory: no such folder"),
        ({"resources": {"limits": {"cpu": "1"}}}, "nothing enforces limits.cpu: "),
    ],
)
def test_limits_that_nothing_enforces_are_told_to_who_asks_for_them(fields: Any, said: str) -> None:
    hierarchy = Hierarchy({}, {"memory": "no such folder", "cpu": ""})
    remarks = list(remarks_on(a_pod("p", a_container(**fields)), Abilities("root", True, hierarchy, True)))
    assert [(each.type, each.status, each.message) for each in remarks] == (
        [("LimitsEnforced", "False", said)] if said else []
    )


# --- termination messages


def ended(site: Site, script: str, **fields: Any) -> Object:
    pod = site.control.put(a_pod("p", a_container(script=script, **fields), restartPolicy="Never"))
    eventually(lambda: site.status(pod).get("phase") in ("Failed", "Succeeded"))
    return last_end(site, pod)


FALLBACK = "FallbackToLogsOnError"
LONG = "i=0; while [ $i -lt 600 ]; do echo line-$i-xxxxx; i=$((i+1)); done"


@pytest.mark.parametrize(
    ("script", "fields", "message"),
    [
        ("echo bye > $CHRONOSET_TERMINATION_LOG; exit 3", {}, "bye\n"),
        ("echo bye > $CHRONOSET_TERMINATION_LOG; exit 0", {}, "bye\n"),
        ("echo out; exit 3", {}, ""),
        ("echo out; echo err >&2; exit 3", {"terminationMessagePolicy": FALLBACK}, "out\nerr\n"),
        ("echo out; exit 0", {"terminationMessagePolicy": FALLBACK}, ""),
        (
            "echo out; echo bye > $CHRONOSET_TERMINATION_LOG; exit 1",
            {"terminationMessagePolicy": FALLBACK},
            "bye\n",
        ),
        ("rm $CHRONOSET_TERMINATION_LOG; mkfifo $CHRONOSET_TERMINATION_LOG; exit 1", {}, ""),
        ("ln -sf /etc/passwd $CHRONOSET_TERMINATION_LOG; exit 1", {}, ""),
    ],
)
def test_a_containers_last_words_are_in_its_status(
    site: Site, script: str, fields: Any, message: str
) -> None:
    assert ended(site, script, **fields).get("message", "") == message


@pytest.mark.parametrize("path", ["/dev/termination-log", "/tmp/nowhere/end"])
def test_the_message_is_written_at_its_path(site: Site, tmp_path: Path, path: str) -> None:
    if abilities(tmp_path / "probe", site).mode == "none":
        pytest.skip("NOT TESTED: this machine allows no mount namespaces")
    assert ended(site, f"echo bye > {path}; exit 3", terminationMessagePath=path)["message"] == "bye\n"
    assert not Path("/tmp/nowhere").exists()


def test_a_long_message_keeps_its_end(site: Site) -> None:
    end = ended(site, f"({LONG}) > $CHRONOSET_TERMINATION_LOG; exit 1")
    assert len(end["message"]) == MESSAGE_LIMIT and end["message"].endswith("line-599-xxxxx\n")


def test_a_long_log_stands_in_with_its_last_lines(site: Site) -> None:
    end = ended(site, f"{LONG}; exit 1", terminationMessagePolicy=FALLBACK)
    assert len(end["message"]) <= LOG_LIMIT and end["message"].endswith("line-599-xxxxx\n")
    assert len(end["message"].splitlines()) == 80


# --- security context


def test_the_volumes_of_a_pod_belong_to_its_group(site: Site) -> None:
    needs_root()
    script = "id -G; umask 022; touch /data/new; stat -c '%g %a' /data /data/new; exec sleep 1000"
    mounts = [{"name": "data", "mountPath": "/data"}]
    context = {"fsGroup": 4242, "runAsUser": 1234}
    site.node.chmod(0o755)
    pod = site.control.put(
        a_pod(
            "p",
            a_container(script=script, volumeMounts=mounts),
            securityContext=context,
            volumes=[{"name": "data", "emptyDir": {}}],
        )
    )
    eventually(lambda: len(printed(site, pod)) >= 3)
    lines = printed(site, pod)
    assert "4242" in lines[0].split()
    assert lines[1:3] == ["4242 2777", "4242 644"]
    volume = (site.node / "pods" / uid_of(pod) / "volumes" / "data").stat()
    assert (volume.st_gid, stat.S_IMODE(volume.st_mode)) == (4242, 0o2777)


READ_ONLY = """
try() { if touch $1/x 2>/dev/null; then echo $2 yes; else echo $2 no; fi; }
try /tmp tmp; try $HOME home; try /data data; try $VOLUME_DATA variable; try $HOME/data link
try /fixed fixed; try $VOLUME_FIXED around; echo x > /dev/null && echo null yes
echo bye > /dev/termination-log && echo message yes
exec sleep 1000
"""


def answers(site: Site, pod: Object, count: int) -> dict[str, str]:
    eventually(lambda: len(printed(site, pod)) >= count)
    return dict(text.split(" ", 1) for text in printed(site, pod))


@pytest.mark.parametrize("is_read_only", [True, False])
def test_what_is_read_only_cannot_be_written_on_any_way(
    site: Site, tmp_path: Path, is_read_only: bool
) -> None:
    needs_read_only(site, tmp_path)
    container = a_container(
        script=READ_ONLY,
        securityContext={"readOnlyRootFilesystem": is_read_only},
        volumeMounts=[
            {"name": "data", "mountPath": "/data"},
            {"name": "fixed", "mountPath": "/fixed", "readOnly": True},
        ],
    )
    volumes = [{"name": "data", "emptyDir": {}}, {"name": "fixed", "emptyDir": {}}]
    pod = site.control.put(a_pod("p", container, volumes=volumes))
    said = answers(site, pod, 9)
    Path("/tmp/x").unlink(missing_ok=True)
    own = "no" if is_read_only else "yes"
    assert said == {
        "tmp": own,
        "home": own,
        "data": "yes",
        "variable": "yes",
        "link": "yes",
        "fixed": "no",
        "around": "no",
        "null": "yes",
        "message": "yes",
    }


def test_a_volume_mounted_twice_is_one_volume_and_may_be_read_only_once(site: Site, tmp_path: Path) -> None:
    needs_read_only(site, tmp_path)
    container = a_container(
        script="echo hello > /rw/file; cat /ro/file; touch /ro/x 2>/dev/null || echo refused; exec sleep 1000",
        volumeMounts=[
            {"name": "v", "mountPath": "/rw"},
            {"name": "v", "mountPath": "/ro", "readOnly": True},
        ],
    )
    pod = site.control.put(a_pod("p", container, volumes=[{"name": "v", "emptyDir": {}}]))
    eventually(lambda: len(printed(site, pod)) >= 2)
    assert printed(site, pod) == [
        "hello",
        "refused",
    ]


def test_a_read_only_path_of_the_host_leaves_the_container_its_own(site: Site, tmp_path: Path) -> None:
    needs_read_only(site, tmp_path)
    container = a_container(
        script="touch /host/tmp/x 2>/dev/null && echo bad; touch $HOME/x && echo own; exec sleep 1000",
        volumeMounts=[{"name": "host", "mountPath": "/host", "readOnly": True}],
    )
    pod = site.control.put(a_pod("p", container, volumes=[{"name": "host", "hostPath": {"path": "/"}}]))
    eventually(lambda: printed(site, pod) == ["own"])


def test_a_volume_may_be_mounted_where_the_runtime_mounts_its_own_files(site: Site) -> None:
    script = "(echo mine > /etc/hosts) 2>/dev/null; cat /etc/hosts; exec sleep 1000"
    mounts = [{"name": "v", "mountPath": "/etc/hosts", "subPath": "hosts"}]
    config = {"metadata": {"name": "c", "namespace": "default"}, "kind": "ConfigMap", "apiVersion": "v1"}
    site.control.put(config | {"data": {"hosts": "1.2.3.4 far\n"}})
    volumes = [{"name": "v", "configMap": {"name": "c"}}]
    pod = site.control.put(a_pod("p", a_container(script=script, volumeMounts=mounts), volumes=volumes))
    eventually(lambda: printed(site, pod) == ["1.2.3.4 far"])


def test_a_mount_inside_another_is_made_there_and_hides_nothing(site: Site) -> None:
    container = a_container(
        script="echo a > /data/a; echo b > /data/sub/b; ls /data; exec sleep 1000",
        volumeMounts=[{"name": "v", "mountPath": "/data"}, {"name": "w", "mountPath": "/data/sub"}],
    )
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]
    pod = site.control.put(a_pod("p", container, volumes=volumes))
    eventually(lambda: len(printed(site, pod)) >= 2)
    folder = site.node / "pods" / uid_of(pod) / "volumes"
    assert (folder / "v" / "a").read_text() == "a\n" and (folder / "w" / "b").read_text() == "b\n"


def test_no_program_gains_privileges_where_the_container_says_so(site: Site) -> None:
    script = "grep NoNewPrivs /proc/self/status; exec sleep 1000"
    context = {"allowPrivilegeEscalation": False}
    pod = site.control.put(a_pod("p", a_container(script=script, securityContext=context)))
    assert "NoNewPrivs:\t1" in eventually(lambda: "".join(printed(site, pod)))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"securityContext": {"readOnlyRootFilesystem": True}}, "securityContext.readOnlyRootFilesystem"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}]}, "volumeMounts.readOnly"),
    ],
)
def test_what_the_machine_does_not_allow_is_told(fields: Any, named: str) -> None:
    pod = a_pod("p", a_container(**fields))
    weak = Abilities("user", False, Hierarchy(), False)
    (remark,) = remarks_on(pod, weak)
    assert (remark.type, remark.status) == ("SecurityContextEnforced", "False") and named in remark.message
    assert list(remarks_on(pod, Abilities("user", True, Hierarchy(), False))) == []


# --- addresses


LISTEN = """
import os, socket, time
server = socket.socket()
server.bind((%s, 8080))
server.listen()
print("listens", flush=True)
time.sleep(1000)
"""


def test_a_pod_whose_address_another_one_holds_says_who(site: Site) -> None:
    victim = site.control.put(a_pod("db-0", a_container(script="exec sleep 1000"), uid="uid-victim"))
    eventually(lambda: site.is_ready(victim))
    address = site.status(victim)["podIP"]
    site.delete(victim)
    eventually(lambda: not site.pod(victim))
    thief = site.control.put(a_pod("thief", a_python(LISTEN % f"'{address}'")))
    eventually(lambda: "listens" in "".join(printed(site, thief)))
    program = a_python("import time\nwhile True: time.sleep(1)")
    victim = site.control.put(a_pod("db-0", program, uid="uid-victim"))
    found = eventually(lambda: condition(site, victim, "AddressFree"))
    assert site.status(victim)["podIP"] == address
    assert (found["status"], found["reason"]) == ("False", "AddressInUse")
    assert found["message"].startswith(
        f"of {address}, port 8080 is held by pod default/thief, container main, process "
    )
    assert condition(site, thief, "AddressFree") == {} and site.is_ready(thief)
    site.delete(thief, grace=0)
    eventually(lambda: not site.pod(thief))
    eventually(lambda: condition(site, victim, "AddressFree") == {})


def test_a_port_that_is_taken_on_all_addresses_is_told_to_who_declares_it(site: Site) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        ports = [{"containerPort": port}]
        pod = site.control.put(a_pod("p", a_container(ports=ports)))
        other = site.control.put(a_pod("q"))
        message = eventually(lambda: condition(site, pod, "AddressFree").get("message", ""))
        assert f"port {port} is held by process {os.getpid()} " in message
        assert "which belongs to no pod" in message
        eventually(lambda: site.is_ready(other))
        assert condition(site, other, "AddressFree") == {}


def test_at_an_address_that_is_not_the_pods_alone_only_its_own_ports_count(site: Site) -> None:
    """The node's own server listens there, and so do other pods of the host's network."""
    with socket.create_server((site.agent.settings.address, 0)) as server:
        ports = [{"containerPort": server.getsockname()[1]}]
        neighbour = site.control.put(a_pod("p", hostNetwork=True))
        rival = site.control.put(a_pod("q", a_container(ports=ports), hostNetwork=True))
        eventually(lambda: condition(site, rival, "AddressFree").get("status") == "False")
        eventually(lambda: site.is_ready(neighbour))
        assert condition(site, neighbour, "AddressFree") == {}
