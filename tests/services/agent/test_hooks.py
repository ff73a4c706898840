"""Lifecycle hooks on real processes: what they hold up, what cuts them, and what they may not harm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.objects import Object, uid_of
from services.agent.logs import log_path
from tests.services.agent.builders import a_container, a_pod, a_python
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import SERVE, Site, processes_of

pytestmark = pytest.mark.e2e

TRAP = "trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def hooked(script: str = TRAP, **lifecycle: Object) -> Object:
    return a_pod("db-0", a_container(script=script, lifecycle=lifecycle))


def sh(script: str) -> Object:
    return {"exec": {"command": ["/bin/sh", "-c", script]}}


def waiting(site: Site, pod: Object) -> dict[str, Any]:
    return (site.container(pod).get("state") or {}).get("waiting") or {}


def seconds_to_go(site: Site, pod: Object, grace: int) -> float:
    began = time.monotonic()
    site.delete(pod, grace)
    eventually(lambda: not site.pod(pod))
    return time.monotonic() - began


def test_a_pod_is_not_running_before_its_post_start_hook_has_passed(site: Site) -> None:
    pod = site.control.put(hooked(postStart=sh("while ! test -e $HOME/go; do sleep 0.02; done")))
    eventually(lambda: waiting(site, pod).get("reason") == "ContainerCreating")
    assert site.status(pod)["phase"] == "Pending" and not site.is_ready(pod)
    (site.node / "pods" / uid_of(pod) / "containers/main/work/go").touch()
    eventually(lambda: site.is_ready(pod))
    assert site.status(pod)["phase"] == "Running" and site.container(pod)["restartCount"] == 0


def test_a_post_start_hook_that_fails_ends_the_container_and_it_is_restarted(site: Site) -> None:
    pod = site.control.put(hooked("exec sleep 1000", postStart=sh("echo no luck; exit 3")))
    eventually(lambda: site.container(pod).get("restartCount", 0) >= 1)
    assert not site.is_ready(pod)
    eventually(lambda: site.reason(pod) == "CrashLoopBackOff")


def test_a_pod_ends_though_its_post_start_hook_hangs(site: Site) -> None:
    pod = site.control.put(hooked("exec sleep 1000", postStart=sh("sleep 1000")))
    eventually(lambda: waiting(site, pod).get("reason") == "ContainerCreating")
    eventually(lambda: len(processes_of(pod)) >= 2)
    assert seconds_to_go(site, pod, grace=1) < 4
    eventually(lambda: processes_of(pod) == [])


def test_term_comes_after_the_pre_stop_hook(site: Site) -> None:
    """The log outlives the pod in what was read before its end: the hook leaves its mark before TERM does."""
    script = (
        "trap 'test -e hooked && echo in-order > $VOLUME_OUT/end; exit 0' TERM; while :; do sleep 0.05; done"
    )
    mounts = [{"name": "out", "mountPath": "/out"}]
    out = site.directory / "out"
    container = a_container(
        script=script, volumeMounts=mounts, lifecycle={"preStop": sh("sleep 0.3; touch $HOME/hooked")}
    )
    pod = site.control.put(
        a_pod("db-0", container, volumes=[{"name": "out", "hostPath": {"path": str(out)}}])
    )
    eventually(lambda: site.is_ready(pod))
    assert 0.3 < seconds_to_go(site, pod, grace=5) < 3
    assert (out / "end").read_text() == "in-order\n"


def test_a_pre_stop_hook_that_never_ends_is_cut_with_the_grace_period(site: Site) -> None:
    """TERM is still sent, and the neighbour lives on."""
    neighbour = site.control.put(a_pod("well-0"))
    pod = site.control.put(hooked(preStop=sh("sleep 1000")))
    eventually(lambda: site.is_ready(pod) and site.is_ready(neighbour))
    assert 0.9 < seconds_to_go(site, pod, grace=1) < 2.5
    eventually(lambda: processes_of(pod) == [])
    assert site.is_ready(neighbour) and site.container(neighbour)["restartCount"] == 0


def test_who_ignores_term_after_a_pre_stop_hook_is_killed_two_seconds_later(site: Site) -> None:
    pod = site.control.put(hooked("trap '' TERM; while :; do sleep 0.05; done", preStop=sh("sleep 1000")))
    eventually(lambda: site.is_ready(pod))
    assert 2.9 < seconds_to_go(site, pod, grace=1) < 5


def test_a_forced_deletion_runs_no_hook(site: Site) -> None:
    pod = site.control.put(hooked(preStop={"sleep": {"seconds": 1000}}))
    eventually(lambda: site.is_ready(pod))
    assert seconds_to_go(site, pod, grace=0) < 1


def test_a_hook_may_sleep_or_ask_by_http(site: Site) -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 1}}}
    started = a_python(SERVE, readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1})
    pod = site.control.put(a_pod("web-0", {**started, "lifecycle": lifecycle}))
    asked = {"preStop": {"httpGet": {"path": "/farewell", "port": 8080}}}
    other = site.control.put(a_pod("web-1", {**started, "lifecycle": asked}))
    eventually(lambda: site.is_ready(pod) and site.is_ready(other))
    path = log_path(site.node, uid_of(other), "main")
    with path.open("rb") as log:
        assert 0.9 < seconds_to_go(site, pod, grace=5) < 3
        seconds_to_go(site, other, grace=5)
        assert b"GET /farewell" in log.read()


def test_a_container_that_ends_by_itself_runs_no_pre_stop_hook(site: Site) -> None:
    pod = site.control.put(hooked("sleep 0.2; exit 3", preStop=sh("echo hook > $HOME/hooked")))
    eventually(lambda: site.container(pod).get("restartCount", 0) >= 1)
    assert not (site.node / "pods" / uid_of(pod) / "containers/main/work/hooked").exists()


def test_a_restarted_agent_does_not_run_a_post_start_hook_again(site: Site) -> None:
    pod = site.control.put(hooked("exec sleep 1000", postStart=sh("echo once >> $HOME/times")))
    eventually(lambda: site.is_ready(pod))
    site.restart()
    site.control.put(a_pod("other-0"))
    eventually(lambda: site.is_ready(pod))
    eventually(lambda: site.control.get("core/pods", "default", "other-0")["status"]["phase"] == "Running")
    times = (site.node / "pods" / uid_of(pod) / "containers/main/work/times").read_text()
    assert times == "once\n" and site.container(pod)["restartCount"] == 0
