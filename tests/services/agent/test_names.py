"""The names of pods of headless services."""

from __future__ import annotations

from typing import Any

from schemas.objects import Object
from services.agent.names import hosts_of
from services.headless import records_of
from tests.services.agent.builders import a_pod, a_service, terminating


def a_peer(name: str, address: str, ready: bool = True, **fields: Any) -> Object:
    pod = a_pod(name, labels={"app": "db"}, hostname=name, subdomain="db", **fields)
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    pod["status"] = {"phase": "Running", "podIP": address, "conditions": [condition]}
    return pod


def names_in(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        address, *names = line.split()
        for name in names:
            found.setdefault(name, set()).add(address)
    return found


def test_a_ready_peer_has_its_names_long_and_short() -> None:
    peer, me = a_peer("db-1", "127.1.1.1"), a_peer("db-0", "127.1.1.0", ready=False)
    names = names_in(hosts_of(me, "127.1.1.0", records_of([a_service()], [peer, me])))
    for name in ("db-1.db.default.svc.cluster.local", "db-1.db.default.svc", "db-1.db.default", "db-1.db"):
        assert names[name] == {"127.1.1.1"}
    assert names["db-0"] == names["db-0.db.default.svc.cluster.local"] == {"127.1.1.0"}
    assert names["db"] == {"127.1.1.1"} and names["localhost"] == {"127.0.0.1"}


def test_pods_that_are_not_ready_or_end_are_published_only_on_demand() -> None:
    pods = [a_peer("db-1", "127.1.1.1", ready=False), terminating(a_peer("db-2", "127.1.1.2"))]
    assert records_of([a_service()], pods) == ()
    assert len(records_of([a_service(publishNotReadyAddresses=True)], pods)) == 2


def test_a_service_publishes_the_pods_it_selects_and_names_those_of_its_subdomain() -> None:
    stranger = a_pod("web-0", labels={"app": "web"})
    stranger["status"] = {"podIP": "127.9.9.9"}
    guest = {**a_peer("x", "127.2.2.2"), "spec": {**a_pod()["spec"]}}
    records = records_of([a_service(publishNotReadyAddresses=True)], [stranger, guest])
    assert [(record.address, record.host) for record in records] == [("127.2.2.2", "")]
    assert records_of([a_service(clusterIP="10.0.0.1")], [guest]) == ()


def test_another_namespace_needs_the_longer_name() -> None:
    peer = a_peer("db-1", "127.1.1.1")
    far = a_pod("far")
    far["metadata"]["namespace"] = "other"
    names = names_in(hosts_of(far, "127.3.3.3", records_of([a_service()], [peer])))
    assert "db-1.db.default" in names and "db-1.db" not in names
