"""When a node ends a pod that nobody has deleted: its deadline, and the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.objects import Object, uid_of
from services.agent import inspections
from services.agent.lifecycle import Begun, Exit, Exited
from services.agent.plans import Stop
from services.agent.statuses import Place, Verdict
from services.agent.verdicts import OVERDUE, has_disk_limits, overuse_of
from services.agent.works import Work, new_work
from tests.services.agent.builders import NOW, a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.test_agent import Site, marked, processes_of

PLACE = Place("127.1.2.3", "127.0.0.1", NOW)
MI = 1 << 20


def limited(name: str, limit: str | None) -> Object:
    resources = {} if limit is None else {"limits": {"ephemeral-storage": limit}}
    return a_container(name, resources=resources)


def a_disk_pod(a: str | None = None, b: str | None = None, size: str | None = None) -> Object:
    empty = {} if size is None else {"sizeLimit": size}
    return a_pod("p", limited("a", a), limited("b", b), volumes=[{"name": "v", "emptyDir": empty}])


@pytest.mark.parametrize(
    ("pod", "volume", "a", "b", "message"),
    [
        (a_disk_pod(size="1Mi"), MI, 0, 0, None),
        (a_disk_pod(size="1Mi"), MI + 1, 0, 0, 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '),
        (a_disk_pod(size="0"), 9 * MI, 0, 0, None),
        (
            a_disk_pod("1Mi", "2Mi"),
            MI,
            MI,
            MI + 1,
            "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ",
        ),
        (
            a_disk_pod("1Mi", "2Mi"),
            0,
            MI + 1,
            0,
            'Container a exceeded its local ephemeral storage limit "1Mi". ',
        ),
        (a_disk_pod("1Mi"), 0, MI, 0, None),
        (a_disk_pod("1M"), 0, 1_000_000, 0, None),
        (a_disk_pod(), 99 * MI, 99 * MI, 99 * MI, None),
    ],
)
def test_a_pod_that_takes_more_of_the_disk_than_it_may_is_told_which_limit(
    pod: Object, volume: int, a: int, b: int, message: str | None
) -> None:
    expected = None if message is None else Verdict("Evicted", message)
    assert overuse_of(pod, {"v": volume}, {"a": a, "b": b}) == expected


def test_only_pods_with_a_limit_are_measured() -> None:
    limits = [a_disk_pod(), a_disk_pod(size="1Mi"), a_disk_pod(b="1Mi")]
    assert [has_disk_limits(pod) for pod in limits] == [False, True, True]


def a_work(**fields: object) -> Work:
    return new_work(a_pod("p", **fields), PLACE)


def test_a_pod_is_looked_at_when_its_time_is_up_and_not_before() -> None:
    work = a_work(activeDeadlineSeconds=60)
    work.judge(NOW + 59_999)
    assert work.verdict is None
    work.judge(NOW + 60_000)
    assert work.verdict == OVERDUE and work.status(False, NOW + 60_000)["phase"] == "Failed"
    assert work.plan(NOW + 60_000).actions == (), "it stays until somebody deletes it"


def test_a_waiting_pod_wakes_for_its_deadline() -> None:
    work = a_work(activeDeadlineSeconds=60)
    work.containers["main"] = work.containers["main"].__class__("main", retry_at=NOW + 300_000)
    assert work.plan(NOW).wake_at == NOW + 60_000


def test_a_pod_that_is_deleted_is_not_condemned() -> None:
    work = a_work(activeDeadlineSeconds=60)
    work.lose(NOW)
    work.judge(NOW + 60_000)
    assert work.verdict is None


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(inspections, "PERIOD", 100)
    site = Site(tmp_path)
    yield site
    site.close()
    assert not marked(tmp_path)


def has_failed(site: Site, pod: Object) -> bool:
    return bool(site.status(pod).get("phase") == "Failed")


@pytest.mark.e2e
def test_a_pod_whose_time_is_up_fails_and_is_not_restarted_by_a_restarted_agent(site: Site) -> None:
    pod = site.control.put(a_pod("late", a_container(), activeDeadlineSeconds=1))
    eventually(lambda: has_failed(site, pod))
    status = site.status(pod)
    assert (status["reason"], status["message"]) == (OVERDUE.reason, OVERDUE.message)
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    assert not processes_of(pod)
    site.restart()
    other = site.control.put(a_pod("other"))
    eventually(lambda: site.is_ready(other))
    assert not processes_of(pod) and site.status(pod)["reason"] == "DeadlineExceeded"
    site.delete(pod)
    eventually(lambda: not site.pod(pod))


@pytest.mark.e2e
def test_a_pod_that_fills_its_disk_is_evicted_and_the_disk_given_back(site: Site) -> None:
    filler = a_container(
        script="dd if=/dev/zero of=$VOLUME_V/big bs=64k count=64 2>/dev/null; echo full; exec sleep 1000",
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
    )
    volume = {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}
    other = site.control.put(a_pod("other"))
    pod = site.control.put(a_pod("filler", filler, volumes=[volume]))
    eventually(lambda: has_failed(site, pod))
    status = site.status(pod)
    assert (status["reason"], status["message"]) == (
        "Evicted",
        'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
    )
    target = next(each for each in status["conditions"] if each["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    folder = site.node / "pods" / uid_of(pod)
    eventually(lambda: not (folder / "volumes").exists())
    assert "full" in str(site.lines(pod)), "its log stays until it is deleted"
    assert site.is_ready(other) and site.container(other)["restartCount"] == 0


@pytest.mark.e2e
def test_a_container_that_writes_beside_its_volumes_is_evicted(site: Site) -> None:
    limits = {"limits": {"ephemeral-storage": "1Mi"}}
    script = "dd if=/dev/zero of=$HOME/big bs=64k count=64 2>/dev/null; exec sleep 1000"
    pod = site.control.put(a_pod("filler", a_container(script=script, resources=limits)))
    eventually(lambda: has_failed(site, pod))
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
    assert (site.status(pod)["reason"], site.status(pod)["message"]) == ("Evicted", message)


def test_a_condemned_pod_is_stopped_with_the_reason() -> None:
    work = a_work()
    container = work.containers["main"]
    work.containers["main"] = container.__class__("main", phase=container.phase.RUNNING, attempt=0)
    work.condemn(Verdict("Evicted", "too much"), 1_000, NOW)
    stops = [action for action in work.plan(NOW).actions if isinstance(action, Stop)]
    assert stops == [Stop("main", NOW + 1_000, "too much")]


def test_the_messages_of_a_pod_share_twelve_kibibytes() -> None:
    pod = a_pod("p", *(a_container(name) for name in ("a", "b", "c", "d")))
    work = new_work(pod, PLACE)
    end = Exit(1, 0, "Error", "é" * 4096, NOW, NOW, "process://u/a/0")
    work.apply("a", Begun(NOW))
    work.apply("a", Exited(end))
    (status,) = [each for each in work.status(False, NOW)["containerStatuses"] if each["name"] == "a"]
    assert status["state"]["terminated"]["message"] == "é" * 1536
