"""One cluster for all of them, a namespace for each; every test also of containers, where there is a Docker daemon."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from services.agent.runtimes.docker.engines import connect_engine
from services.settings import KUBECONFIG
from tests.dockerd import import_busybox
from tests.e2e.api_clients import api_client
from tests.e2e.clusters import Cluster, running_cluster, wait_for
from tests.e2e.conformance.sites import TAGS, Site, config_of, prepare_images

DOCKER = "docker"


@pytest.fixture(scope="package", params=["process", pytest.param(DOCKER, marks=pytest.mark.long)])
def conforming(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    extra = {}
    if request.param == DOCKER:
        extra["DOCKER_HOST"] = host = request.getfixturevalue("docker_host")
        engine = connect_engine(host)
        import_busybox(engine, *(f"web:{tag}" for tag in TAGS))
        engine.close()
    with (
        tempfile.TemporaryDirectory(prefix="chronoset-e2e-") as folder,
        running_cluster(Path(folder) / "data", 2, "--runtime", request.param, **extra) as cluster,
    ):
        wait_for((cluster.data_dir / KUBECONFIG).exists, "the kubeconfig")
        prepare_images(cluster)
        yield cluster


@pytest.fixture(scope="package")
def conforming_api(conforming: Cluster) -> Iterator[client.ApiClient]:
    with api_client(config_of(conforming)) as found:
        yield found


@pytest.fixture
def site(
    request: pytest.FixtureRequest, conforming: Cluster, conforming_api: client.ApiClient
) -> Iterator[Site]:
    """A namespace of the test's own, which it leaves to be collected."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:60].strip("-")
    core = client.CoreV1Api(conforming_api)
    core.create_namespace({"metadata": {"name": name}})
    if "DOCKER_HOST" in conforming.extra:
        yield Site(conforming_api, name, config_of(conforming), "127.0.0.1:1/web:none", "/data")
    else:
        yield Site(conforming_api, name, config_of(conforming), "web:none")
    core.delete_namespace(name)
