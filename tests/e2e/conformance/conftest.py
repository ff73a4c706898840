"""One cluster for all of them, a namespace for each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from kubernetes import client, config

from services.settings import KUBECONFIG
from tests.e2e.clusters import Cluster, temporary_cluster, wait_for
from tests.e2e.conformance.sites import Site, config_of, prepare_images


@pytest.fixture(scope="package")
def conforming() -> Iterator[Cluster]:
    with temporary_cluster(2) as cluster:
        wait_for((cluster.data_dir / KUBECONFIG).exists, "the kubeconfig")
        prepare_images(cluster)
        yield cluster


@pytest.fixture(scope="package")
def conforming_api(conforming: Cluster) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(config_of(conforming)) as found:
        yield found


@pytest.fixture
def site(
    request: pytest.FixtureRequest, conforming: Cluster, conforming_api: client.ApiClient
) -> Iterator[Site]:
    """A namespace of the test's own, which it leaves to be collected."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:60].strip("-")
    core = client.CoreV1Api(conforming_api)
    core.create_namespace({"metadata": {"name": name}})
    yield Site(conforming_api, name, config_of(conforming))
    core.delete_namespace(name)
