"""Probes that hang: what waits for them is their own pod, and nobody else's."""

from __future__ import annotations

import pytest

from services.agent.driving import STARTERS
from tests.services.agent.builders import a_container, a_pod, a_python
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import Site, site

__all__ = ["site"]
pytestmark = pytest.mark.e2e

HUNG = {"exec": {"command": ["sleep", "1000"]}, "timeoutSeconds": 15}
OLD_POOL = 16
DEAF = (
    "import os, socket, time\nserver = socket.create_server((os.environ['POD_IP'], 8080))\ntime.sleep(1000)"
)


def test_probes_that_hang_hold_up_no_probe_of_another_pod(site: Site) -> None:
    containers = [a_container(f"c{number}", readinessProbe=HUNG) for number in range(OLD_POOL + STARTERS)]
    hung = site.control.put(a_pod("hung", *containers))
    eventually(lambda: len(site.status(hung).get("containerStatuses") or ()) == len(containers))
    eventually(lambda: all("running" in each["state"] for each in site.status(hung)["containerStatuses"]))
    well = site.control.put(a_pod("well", a_container(readinessProbe={"exec": {"command": ["true"]}})))
    eventually(lambda: site.is_ready(well), seconds=5)
    assert not site.is_ready(hung)
    site.delete(hung, grace=0)
    eventually(lambda: not site.pod(hung))


@pytest.mark.parametrize(
    "action",
    [
        {"exec": {"command": ["sleep", "1000"]}},
        {"httpGet": {"port": 8080}},
        {"grpc": {"port": 8080}},
    ],
    ids=lambda action: next(iter(action)),
)
def test_a_liveness_probe_that_hangs_has_failed_after_its_timeout(
    site: Site, action: dict[str, object]
) -> None:
    probe = {**action, "timeoutSeconds": 1, "failureThreshold": 1, "periodSeconds": 1}
    pod = site.control.put(a_pod("p", a_python(DEAF, livenessProbe=probe), terminationGracePeriodSeconds=1))
    eventually(lambda: site.container(pod).get("restartCount", 0) >= 1)
