"""Sidecars: init containers with restartPolicy Always start first, stay, and end last."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.demands import requests_of
from schemas.kinds import POD
from schemas.objects import Object, uid_of
from schemas.pod_columns import pod_status
from services.cli.columns import Layout, Setting, headers_of, rows_of
from tests.services.agent.builders import a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import Site, processes_of


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def a_teller(name: str, out: Path, until: str = "while :; do sleep 0.02; done", **fields: Any) -> Object:
    """A container that writes when it begins and, asked to end, when it ends."""
    script = f"trap 'sleep 0.1; echo -{name} >> {out}; exit 0' TERM; echo +{name} >> {out}; {until}"
    return a_container(name, script=script, **fields)


def a_sidecar(name: str, out: Path, **fields: Any) -> Object:
    return a_teller(name, out, restartPolicy="Always", **fields)


def init_status(site: Site, pod: Object, index: int = 0) -> Object:
    return dict((site.status(pod).get("initContainerStatuses") or [{}] * (index + 1))[index])


@pytest.mark.e2e
def test_sidecars_start_first_in_order_and_end_last_in_reverse(site: Site) -> None:
    out = site.directory / "out"
    inits = [a_sidecar("a", out), a_teller("init", out, "exit 0"), a_sidecar("b", out)]
    pod = site.control.put(a_pod("db-0", a_teller("main", out), initContainers=inits))
    eventually(lambda: site.is_ready(pod) and out.read_text().split()[-1] == "+main")
    assert site.status(pod)["phase"] == "Running" and init_status(site, pod)["ready"]
    site.delete(pod, grace=5)
    eventually(lambda: not site.pod(pod))
    assert out.read_text().split() == ["+a", "+init", "+b", "+main", "-main", "-b", "-a"]


@pytest.mark.e2e
def test_the_next_container_waits_for_a_sidecars_startup_probe(site: Site) -> None:
    out, go = site.directory / "out", site.directory / "go"
    probe = {"exec": {"command": ["test", "-e", str(go)]}, "periodSeconds": 1, "failureThreshold": 100}
    inits = [a_sidecar("proxy", out, startupProbe=probe)]
    pod = site.control.put(a_pod("db-0", a_teller("main", out), initContainers=inits))
    eventually(lambda: "running" in init_status(site, pod).get("state", {}))
    assert site.status(pod)["phase"] == "Pending" and site.reason(pod) == "PodInitializing"
    assert pod_status(site.pod(pod)) == "Init:0/1"
    go.touch()
    eventually(lambda: site.is_ready(pod))
    assert out.read_text().split() == ["+proxy", "+main"]


@pytest.mark.e2e
def test_a_sidecar_that_crashes_is_restarted_and_disturbs_nobody(site: Site) -> None:
    out = site.directory / "out"
    pod = site.control.put(a_pod("db-0", a_teller("main", out), initContainers=[a_sidecar("proxy", out)]))
    eventually(lambda: site.is_ready(pod))
    running = site.node / "pods" / uid_of(pod) / "containers/proxy/0/running.json"
    os.kill(json.loads(running.read_bytes())["main"], signal.SIGKILL)
    eventually(lambda: init_status(site, pod)["restartCount"] == 1 and site.is_ready(pod))
    assert site.container(pod)["restartCount"] == 0 and site.status(pod)["phase"] == "Running"


@pytest.mark.e2e
def test_a_job_with_a_sidecar_ends_when_its_work_is_done(site: Site) -> None:
    out = site.directory / "out"
    job = a_teller("main", out, "exit 0")
    pod = site.control.put(a_pod("job", job, initContainers=[a_sidecar("proxy", out)], restartPolicy="Never"))
    eventually(lambda: site.status(pod).get("phase") == "Succeeded")
    assert out.read_text().split() == ["+proxy", "+main", "-proxy"] and processes_of(pod) == []


@pytest.mark.e2e
def test_a_forced_deletion_ends_sidecars_at_once(site: Site) -> None:
    deaf = a_container("deaf", script="trap '' TERM; while :; do sleep 0.05; done", restartPolicy="Always")
    pod = site.control.put(a_pod("db-0", a_container(), initContainers=[deaf]))
    eventually(lambda: site.is_ready(pod))
    site.delete(pod, grace=0)
    eventually(lambda: not site.pod(pod), 3)
    assert processes_of(pod) == []


@pytest.mark.e2e
def test_a_sidecar_that_ignores_term_is_killed_when_the_grace_period_ends(site: Site) -> None:
    deaf = a_container("deaf", script="trap '' TERM; while :; do sleep 0.05; done", restartPolicy="Always")
    pod = site.control.put(a_pod("db-0", a_container(), initContainers=[deaf]))
    eventually(lambda: site.is_ready(pod))
    site.delete(pod, grace=1)
    eventually(lambda: not site.pod(pod), 5)
    assert processes_of(pod) == []


def test_a_sidecar_counts_beside_the_containers_and_the_init_containers_after_it() -> None:
    def wants(name: str, cpu: str, **fields: Any) -> Object:
        return a_container(name, resources={"requests": {"cpu": cpu}}, **fields)

    inits = [wants("proxy", "1", restartPolicy="Always"), wants("load", "3")]
    assert requests_of(a_pod("db-0", wants("main", "2"), initContainers=inits)) == {"cpu": 4000, "pods": 1}
    assert requests_of(a_pod("db-0", wants("main", "5"), initContainers=inits)) == {"cpu": 6000, "pods": 1}


@pytest.mark.parametrize(
    ("state", "restarts"), [({"waiting": {"reason": "CrashLoopBackOff"}}, "3"), (None, "1")]
)
def test_restarts_of_init_containers_are_shown_while_they_hold_up_the_pod(
    state: Object | None, restarts: str
) -> None:
    pod = a_pod("db-0", initContainers=[a_container("load")])
    pod["status"] |= {
        "initContainerStatuses": [
            {"name": "load", "state": state or {"terminated": {"exitCode": 0}}, "restartCount": 3}
        ],
        "containerStatuses": [{"name": "main", "state": {}, "restartCount": 1}],
    }
    row = rows_of(POD, [pod], Setting(0), Layout())[0]
    assert row[headers_of(POD, Layout()).index("RESTARTS")] == restarts
