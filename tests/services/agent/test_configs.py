"""ConfigMaps and Secrets in running pods: real processes read them."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.commit import Edges
from events.memory import MemoryLog
from events.secrets import Keyring
from schemas.objects import Object, uid_of, with_fields
from services.agent.remote.connections import Api, Server
from services.agent.remote.control_plane import ApiControlPlane
from services.api.program import Parts
from tests.services.agent.builders import a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.planes import Hands
from tests.services.agent.test_agent import Site, processes_of
from tests.services.api.apis import AnApi, served

pytestmark = pytest.mark.e2e

SHOW = 'while :; do echo "$(cat $VOLUME_CONF/mode) $MODE"; sleep 0.05; done'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def a_config_map(name: str = "app", **data: str) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def a_secret(name: str = "login", **data: str) -> Object:
    sealed = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {**a_config_map(name), "kind": "Secret", "type": "Opaque", "data": sealed}


def configured(script: str = SHOW, volume: Object | None = None, mount: Object | None = None) -> Object:
    """A pod with ConfigMap app at /etc/app and its key `mode` in $MODE."""
    env = [{"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "mode"}}}]
    mounts = [{"name": "conf", "mountPath": "/etc/app", **(mount or {})}]
    volumes = [{"name": "conf", **(volume or {"configMap": {"name": "app"}})}]
    return a_pod("app-0", a_container(script=script, env=env, volumeMounts=mounts), volumes=volumes)


def message_of(site: Site, pod: Object) -> str:
    waiting: dict[str, Any] = (site.container(pod).get("state") or {}).get("waiting") or {}
    return f"{waiting.get('reason')}: {waiting.get('message')}"


def test_a_change_is_seen_in_the_files_within_a_second_and_not_in_the_environment(site: Site) -> None:
    config = site.control.put(a_config_map(mode="slow"))
    pod = site.control.put(configured())
    eventually(lambda: "slow slow" in site.lines(pod) if site.is_ready(pod) else False)
    site.control.put({**config, "data": {"mode": "fast"}})
    began = time.monotonic()
    eventually(lambda: site.lines(pod)[-1] == "fast slow")
    assert time.monotonic() - began < 1


def test_a_restarted_agent_goes_on_with_the_files(site: Site) -> None:
    config = site.control.put(a_config_map(mode="slow"))
    pod = site.control.put(configured())
    eventually(lambda: site.is_ready(pod))
    site.restart()
    site.control.put({**config, "data": {"mode": "fast"}})
    eventually(lambda: site.lines(pod)[-1] == "fast slow")
    assert site.container(pod)["restartCount"] == 0


def test_a_pod_waits_for_a_config_map_that_is_missing_and_starts_when_it_comes(site: Site) -> None:
    env = [{"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "mode"}}}]
    pod = site.control.put(a_pod("app-0", a_container(env=env)))
    eventually(lambda: message_of(site, pod) == 'CreateContainerConfigError: configmap "app" not found')
    other = site.control.put(a_config_map(other="x"))
    eventually(lambda: "couldn't find key mode in ConfigMap default/app" in message_of(site, pod))
    neighbour = site.control.put(a_pod("well-0"))
    eventually(lambda: site.is_ready(neighbour))
    site.control.put({**other, "data": {"mode": "fast"}})
    eventually(lambda: site.is_ready(pod), 3)


def test_a_volume_that_is_missing_is_named_and_mounted_when_it_comes(site: Site) -> None:
    pod = configured(
        script="cat $VOLUME_CONF/password; echo; exec sleep 1000", volume={"secret": {"secretName": "login"}}
    )
    site.control.put(a_config_map(mode="slow"))
    pod = site.control.put(pod)
    sentence = 'ContainerCreating: MountVolume.SetUp failed for volume "conf": secret "login" not found'
    eventually(lambda: message_of(site, pod) == sentence)
    site.control.put(a_secret(password="s3cret"))
    eventually(lambda: site.is_ready(pod), 3)
    eventually(lambda: site.lines(pod) == ["s3cret"])


def test_a_config_map_that_is_deleted_under_a_running_pod_stays_in_its_files(site: Site) -> None:
    config = site.control.put(a_config_map(mode="slow"))
    script = "cat $VOLUME_CONF/mode; echo; exec sleep 1000"
    container = a_container(script=script, volumeMounts=[{"name": "conf", "mountPath": "/etc/app"}])
    volumes = [{"name": "conf", "configMap": {"name": "app"}}]
    pod = site.control.put(a_pod("app-0", container, volumes=volumes))
    eventually(lambda: site.is_ready(pod))
    site.control.remove(config)
    for pid in processes_of(pod):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: site.is_ready(pod) and site.container(pod)["restartCount"] == 1)
    eventually(lambda: site.lines(pod) == ["slow"])


def test_one_key_is_mounted_as_a_file_by_its_sub_path(site: Site) -> None:
    site.control.put(a_config_map(mode="slow"))
    mount = {"mountPath": "/etc/chronoset-test/mode.conf", "subPath": "mode"}
    pod = site.control.put(
        configured("cat /etc/chronoset-test/mode.conf; echo; exec sleep 1000", mount=mount)
    )
    eventually(lambda: site.is_ready(pod))
    eventually(lambda: site.lines(pod) == ["slow"])


def test_labels_that_change_are_seen_in_a_downward_file(site: Site) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    script = "while :; do echo $(cat $VOLUME_CONF/labels); sleep 0.05; done"
    site.control.put(a_config_map(mode="slow"))
    pod = site.control.put(configured(script, volume={"downwardAPI": {"items": items}}))
    eventually(lambda: site.is_ready(pod))
    site.control.put(
        with_fields(site.pod(pod), metadata={**site.pod(pod)["metadata"], "labels": {"role": "leader"}})
    )
    eventually(lambda: site.lines(pod)[-1:] == ['role="leader"'])


def test_a_secret_is_opened_for_the_node_and_only_by_its_key(tmp_path: Path) -> None:
    """The log holds it sealed; the API opens it; without the key it stays sealed."""
    log, keys = MemoryLog(), tmp_path / "keys"
    edges = Edges(seal=Keyring(keys).seal)
    with served(Parts(lambda: log, edges, lambda obj: Keyring(keys).unseal(obj)), log) as api:
        secret = Hands(log, api.server.replica, edges).put(a_secret(password="s3cret"))
        assert secret["data"]["password"].startswith("sealed:")
        assert told_of(api, "login")["password"] == base64.b64encode(b"s3cret").decode()
        (keys / f"{uid_of(secret)}.key").unlink()
        assert told_of(api, "login") == secret["data"]


def told_of(api: AnApi, name: str) -> Object:
    """Return the data of a Secret as a node is told of it."""
    remote = Api(Server(str(api.client.base_url).rstrip("/")))
    plane = ApiControlPlane(remote, "n1", "a-holder")
    found = plane.get("core/secrets", "default", name) or {}
    plane.close()
    remote.close()
    return dict(found["data"])
