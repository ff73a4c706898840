"""As whom programs run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.objects import Object
from services.agent.identities import Identity, identity_of
from services.agent.sources import BadConfiguration
from tests.services.agent.builders import a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import Site

ROOT, ALICE = Identity(0, 0), Identity(1000, 100)


@pytest.mark.parametrize(
    ("pod", "container", "own", "expected"),
    [
        ({}, {}, ROOT, None),
        ({"runAsUser": 7}, {}, ROOT, Identity(7, 0)),
        ({"runAsUser": 7, "runAsGroup": 8}, {"runAsUser": 9}, ROOT, Identity(9, 8)),
        ({"supplementalGroups": [5]}, {}, ROOT, Identity(0, 0, (5,))),
        ({"runAsNonRoot": True}, {"runAsUser": 9}, ROOT, Identity(9, 0)),
        ({"runAsUser": 1000}, {}, ALICE, None),
        ({"runAsNonRoot": True}, {}, ALICE, None),
    ],
)
def test_a_container_goes_before_its_pod(
    pod: Object, container: Object, own: Identity, expected: Identity | None
) -> None:
    assert identity_of(a_pod(securityContext=pod), a_container(securityContext=container), own) == expected


@pytest.mark.parametrize(
    ("context", "own", "message"),
    [
        ({"runAsNonRoot": True}, ROOT, "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, ROOT, "container's runAsUser breaks non-root policy"),
        ({"runAsUser": 7}, ALICE, "only an agent that runs as root can"),
        ({"runAsGroup": 7}, ALICE, "only an agent that runs as root can"),
    ],
)
def test_what_cannot_be_is_said(context: Object, own: Identity, message: str) -> None:
    with pytest.raises(BadConfiguration, match=message):
        identity_of(a_pod(), a_container(securityContext=context), own)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.mark.e2e
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_program_runs_as_its_user_and_may_write_where_it_works(site: Site) -> None:
    script = "echo $(id -u) $(id -g) $(id -G); touch mine && echo written; exec sleep 1000"
    context = {"runAsUser": 1234, "runAsGroup": 2345, "supplementalGroups": [3456]}
    probe = {"exec": {"command": ["/bin/sh", "-c", 'test "$(id -u)" = 1234']}, "periodSeconds": 1}
    container = a_container(script=script, securityContext={"runAsUser": 1234}, readinessProbe=probe)
    pod = site.control.put(a_pod("db-0", container, securityContext=context))
    eventually(lambda: site.is_ready(pod))
    eventually(lambda: site.lines(pod) == ["1234 2345 2345 3456", "written"])
    site.delete(pod, grace=1)
    eventually(lambda: not site.pod(pod))


@pytest.mark.e2e
@pytest.mark.skipif(os.getuid() != 0, reason="somebody else is never root")
def test_a_program_that_must_not_be_root_waits_and_says_so(site: Site) -> None:
    pod = site.control.put(a_pod("db-0", a_container(securityContext={"runAsNonRoot": True})))
    eventually(lambda: site.reason(pod) == "CreateContainerConfigError")
    assert "image will run as root" in site.container(pod)["state"]["waiting"]["message"]
