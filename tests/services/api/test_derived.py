"""Endpoints, as clients of before EndpointSlices read them."""

from __future__ import annotations

from typing import Any

from schemas.objects import Object
from services.api.derived import DEPRECATED
from tests.services.api.apis import AnApi

SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
ENDPOINTS = "/api/v1/namespaces/default/endpoints"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
SQL = {"name": "sql", "port": 5432, "protocol": "TCP"}


def a_slice(name: str, service: str, *endpoints: Object, ports: tuple[Object, ...] = (SQL,)) -> Object:
    labels = {"kubernetes.io/service-name": service, "service.kubernetes.io/headless": ""}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": list(ports),
    }


def an_endpoint(address: str, ready: bool = True, **fields: Any) -> Object:
    return {"addresses": [address], "conditions": {"ready": ready}, **fields}


def test_the_slices_of_a_service_are_one_object(api: AnApi) -> None:
    reference = {"kind": "Pod", "name": "db-0", "namespace": "default", "uid": "1"}
    first = an_endpoint("10.0.0.2", hostname="db-0", nodeName="n1", targetRef=reference)
    api.create(SLICES, a_slice("db-a", "db", first, an_endpoint("10.0.0.1")))
    later = api.create(SLICES, a_slice("db-b", "db", an_endpoint("10.0.0.3", ready=False)))
    found = api.get(f"{ENDPOINTS}/db")
    assert found["subsets"] == [
        {
            "addresses": [
                {"ip": "10.0.0.1"},
                {"ip": "10.0.0.2", "hostname": "db-0", "nodeName": "n1", "targetRef": reference},
            ],
            "notReadyAddresses": [{"ip": "10.0.0.3"}],
            "ports": [SQL],
        }
    ]
    metadata = found["metadata"]
    assert metadata["resourceVersion"] == later["metadata"]["resourceVersion"]
    assert metadata["labels"] == {"service.kubernetes.io/headless": ""}
    assert api.get(f"{ENDPOINTS}/db") == found


def test_they_are_listed_selected_shown_and_warned_of(api: AnApi) -> None:
    api.create(SLICES, a_slice("web-a", "web", *(an_endpoint(f"10.1.0.{each}") for each in range(1, 6))))
    api.create(SLICES, a_slice("none-a", "none", ports=()))
    named = f"{ENDPOINTS}?fieldSelector=metadata.name%3Dweb"
    assert [each["metadata"]["name"] for each in api.get(named)["items"]] == ["web"]
    cells = {row["cells"][0]: row["cells"][1] for row in api.get(ENDPOINTS, accept=TABLE)["rows"]}
    assert cells["web"] == "10.1.0.1:5432,10.1.0.2:5432,10.1.0.3:5432 + 2 more..."
    assert cells["none"] == "<none>"
    assert api.ask("GET", named).headers["warning"] == f'299 - "{DEPRECATED}"'


def test_they_are_only_read(api: AnApi) -> None:
    assert api.ask("POST", ENDPOINTS, {"metadata": {"name": "x"}}).status_code == 405
    assert api.ask("GET", f"{ENDPOINTS}?watch=1").status_code == 405
    assert api.ask("GET", f"{ENDPOINTS}/nobody").json()["message"] == 'endpoints "nobody" not found'
