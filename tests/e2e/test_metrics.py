"""A real cluster is scraped: every metric that is documented, or that the dashboard asks for, is there."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.clusters import SOURCES, Cluster, running_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server]

DOCS = SOURCES / "docs"
DASHBOARD = DOCS / "grafana-dashboard.json"
Samples = dict[str, list[dict[str, str]]]


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port() -> int:
    return a_free_port()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("metrics")
    with running_cluster(directory, 2, "--metrics", str(port)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def samples(cluster: Cluster, port: int) -> Samples:
    """What is scraped once a set runs and somebody has asked the API: sample name -> the labels of its series."""
    cluster.apply(a_set())
    assert cluster.run("rollout", "status", "sts/web").code == 0
    ask_the_api(cluster.data_dir)
    wait_for(lambda: "chronoset_projector_lag_seconds" in scraped(port), "the projector's lag")
    return scraped(port)


def a_set() -> dict[str, Any]:
    containers = [{"name": "web", "image": "host:1", "command": ["sleep", "100000"]}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "serviceName": "web",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": containers},
            },
        },
    }


def ask_the_api(data_dir: Path) -> None:
    """Ask for pods once, by the administrator's kubeconfig."""
    from services.loadtest.api_clients import Caller, path_of, place_of

    caller = Caller(place_of(data_dir / "kubeconfig"))
    assert len((caller.ask("GET", path_of("core/pods", "default")).found() or {})["items"]) == 2
    caller.close()


def scraped(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: Samples = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, []).append(sample.labels)
    return found


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:chronoset|process)_[a-z_]+[a-z]\b", text))


def test_every_program_answers_and_counts_only_what_it_has_done(cluster: Cluster, samples: Samples) -> None:
    programs = {labels["program"] for labels in samples["chronoset_up"]}
    members = {name for name in cluster.members() if name not in ("log", "queue")}
    assert programs == members
    writers = {labels["program"] for labels in samples["chronoset_events_appended_total"]}
    assert "worker-1" in writers or "worker-2" in writers
    assert "api" in writers and not {"agents", "projector"} & writers


def test_every_metric_that_is_documented_is_there(samples: Samples) -> None:
    table = (DOCS / "metrics.md").read_text().partition("| metric |")[2].partition("\n## ")[0]
    documented = {
        name for line in table.splitlines() for name in names_in(line.split("|")[1] if "|" in line else "")
    }
    documented -= {"process_"}
    assert len(documented) >= 14
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples}
    assert documented - bare == set()


def test_every_metric_of_ours_is_documented(samples: Samples) -> None:
    text = (DOCS / "metrics.md").read_text()
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples if name.startswith("chronoset_")}
    assert {name for name in ours if f"`{name}`" not in text} == set()


def test_every_metric_that_the_dashboard_asks_for_is_there_with_its_labels(samples: Samples) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len(panels) >= 18 and len({panel["title"] for panel in panels}) == len(panels)
    for target in (target for panel in panels for target in panel["targets"]):
        for name in names_in(target["expr"]):
            assert name in samples, target["expr"]
        wanted = {
            label for found in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in found.split(", ")
        }
        wanted |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        (name,) = names_in(target["expr"])
        assert wanted <= set().union(*samples[name]), target["expr"]


def test_the_api_tells_verb_resource_and_code(samples: Samples) -> None:
    asked = [
        (each["verb"], each["resource"], each["code"]) for each in samples["chronoset_api_requests_total"]
    ]
    assert ("list", "core/pods", "200") in asked
