"""The docker runtime on a real daemon: what Kubernetes promises of containers and processes cannot have."""

from __future__ import annotations

import http.client
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.objects import Object, uid_of
from services.agent.lifecycle import Exit, Started
from services.agent.runtimes.docker.engines import connect_engine
from services.agent.runtimes.docker.labels import PAUSE, UID, ours
from services.agent.runtimes.port import Refused, Run
from tests.dockerd import SKIPPED, import_busybox
from tests.services.agent.builders import a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.runtimes.test_contract import LASTING, Site, a_site

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture(params=["docker"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from a_site(request, tmp_path)


@pytest.fixture
def client(docker_host: str) -> Iterator[Any]:
    client = connect_engine(docker_host)
    yield client
    client.close()


def run(site: Site, pod: Object) -> tuple[int, list[str]]:
    """Run a pod to its end; return its exit code and what it has printed."""
    site.begin(pod)
    return site.end().code, site.texts(pod)


def inside(site: Site, pod: Object, script: str) -> str:
    return site.runtime.execute(uid_of(pod), "main", ["sh", "-c", script], 10_000).output


def refusal(site: Site, container: Object) -> Refused:
    pod = a_pod("x", container)
    site.runtime.open(pod, "", 0)
    with pytest.raises(Refused) as refused:
        site.runtime.start(Run(pod, "main", 0))
    return refused.value


def test_a_container_that_takes_more_memory_than_its_limit_is_oom_killed(site: Site) -> None:
    limits = {"limits": {"memory": "16Mi"}}
    site.begin(a_pod("x", a_container(script="tail /dev/zero", resources=limits)))
    end = site.end()
    assert (end.code, end.reason) == (137, "OOMKilled")


def test_limits_of_cpu_and_processes_are_the_containers(site: Site, client: Any) -> None:
    started = site.begin(a_pod("x", a_container(resources={"limits": {"cpu": "250m"}})))
    host = client.inspect_container(started.container_id.removeprefix("docker://"))["HostConfig"]
    assert (host["CpuQuota"], host["CpuPeriod"], host["PidsLimit"]) == (25_000, 100_000, 4_096)


def test_an_image_id_is_the_digest_of_the_image(site: Site, client: Any) -> None:
    assert site.begin(a_pod()).image_id == client.inspect_image("host:1")["Id"]


@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        ({"image": "Bad::name"}, "InvalidImageName", "no image name"),
        ({"image": "127.0.0.1:1/nosuch:1"}, "ErrImagePull", "connection refused"),
        (
            {"image": "host:none", "imagePullPolicy": "Never"},
            "ErrImageNeverPull",
            'Container image "host:none" is not present with pull policy of Never',
        ),
        ({"securityContext": {"runAsNonRoot": True}}, "CreateContainerConfigError", "image will run as root"),
        ({"resources": {"limits": {"memory": "1Ki"}}}, "CreateContainerError", "Minimum memory limit"),
        (
            {"volumeMounts": [{"name": "no", "mountPath": "/x"}]},
            "CreateContainerConfigError",
            "no volume 'no'",
        ),
    ],
)
def test_what_cannot_be_started_says_why_in_kubernetes_words(
    site: Site, container: Object, reason: str, words: str
) -> None:
    refused = refusal(site, a_container(**container))
    assert refused.reason == reason and words in str(refused)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry of our own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    try:
        server = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        pytest.skip(f"{SKIPPED}: docker-registry is not installed (.ci/dockerd install)")
    eventually(lambda: _answers(address))
    yield address
    server.kill()
    server.wait()


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_images_are_pulled_from_a_registry_by_their_policy(site: Site, client: Any, registry: str) -> None:
    name = f"{registry}/team/shell"
    import_busybox(client, f"{name}:1")
    first = client.inspect_image(f"{name}:1")["Id"]
    client.push(name, "1")
    client.remove_image(f"{name}:1")
    assert site.begin(a_pod("a", a_container(image=f"{name}:1"))).image_id == first, (
        "pulled: it was not there"
    )
    container = client.create_container("host:1", ["true"])["Id"]
    second = client.commit(container, name, "1", changes="ENV NEW=1")["Id"]
    client.remove_container(container)
    client.push(name, "1")
    client.tag(first, name, "1")
    assert site.begin(a_pod("b", a_container(image=f"{name}:1"))).image_id == first, (
        "IfNotPresent: it is there"
    )
    always = a_container(image=f"{name}:1", imagePullPolicy="Always")
    assert site.begin(a_pod("c", always)).image_id == second, "Always: the registry has a newer one"
    refused = refusal(site, a_container(image=f"{name}:2"))
    assert refused.reason == "ErrImagePull" and "manifest unknown" in str(refused)


def test_entrypoint_and_arguments_are_the_images_unless_the_pod_names_its_own(
    site: Site, client: Any
) -> None:
    container = client.create_container("host:1", ["true"])["Id"]
    client.commit(container, "entry", "1", changes=['ENTRYPOINT ["echo", "entry"]', 'CMD ["default"]'])
    client.remove_container(container)
    image = {"name": "main", "image": "entry:1"}
    for fields, printed in (
        ({}, "entry default"),
        ({"args": ["mine"]}, "entry mine"),
        ({"command": ["echo"]}, ""),
        ({"command": ["echo"], "args": ["both"]}, "both"),
    ):
        assert run(site, a_pod("x", {**image, **fields})) == (0, [printed])


def test_a_program_runs_as_its_user_with_its_groups_and_no_more_capabilities_than_it_may(site: Site) -> None:
    context = {"runAsUser": 1000, "runAsGroup": 2000, "capabilities": {"drop": ["ALL"]}}
    script = "id -u; id -g; id -G; grep CapBnd /proc/self/status"
    pod = a_pod("x", a_container(script=script, securityContext=context), securityContext={"fsGroup": 3000})
    assert run(site, pod) == (0, ["1000", "2000", "2000 3000", "CapBnd:\t0000000000000000"])


def test_a_read_only_root_and_a_read_only_volume_take_no_writes(site: Site) -> None:
    script = "touch /file || echo root; touch /data/file || echo volume; touch /more/file && echo written"
    mounts = [
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "more", "mountPath": "/more"},
    ]
    main = a_container(script=script, securityContext={"readOnlyRootFilesystem": True}, volumeMounts=mounts)
    pod = a_pod("x", main, volumes=[{"name": "data", "emptyDir": {}}, {"name": "more", "emptyDir": {}}])
    code, lines = run(site, pod)
    assert code == 0 and [line for line in lines if "touch" not in line] == ["root", "volume", "written"]


def test_a_directory_of_the_host_is_mounted_and_the_working_directory_is_the_containers(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "from the host").write_text("hello\n")
    main = a_container(
        script="pwd; cat '/mnt/from the host'",
        workingDir="/tmp",
        volumeMounts=[{"name": "host", "mountPath": "/mnt"}],
    )
    pod = a_pod("x", main, volumes=[{"name": "host", "hostPath": {"path": str(tmp_path)}}])
    assert run(site, pod) == (0, ["/tmp", "hello"])


def test_the_containers_of_a_pod_share_a_network_and_a_host_name(site: Site) -> None:
    server = a_container("server", "mkdir /w; echo hi > /w/index.html; exec httpd -f -p 8080 -h /w")
    pod = a_pod("db-0", a_container(script=LASTING), server)
    address = site.runtime.open(pod, "", 0).address
    site.runtime.start(Run(pod, "server", 0))
    site.begin(pod)
    assert inside(site, pod, "hostname") == "db-0\n"
    eventually(lambda: inside(site, pod, "wget -qO- http://127.0.0.1:8080/") == "hi\n")
    connection = http.client.HTTPConnection(address, 8080, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hi\n", "the machine reaches pods at their addresses"
    connection.close()


def test_a_host_port_is_published_and_refused_to_a_second_pod(site: Site) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    main = a_container(
        script="mkdir /w; echo hi > /w/index.html; exec httpd -f -p 80 -h /w",
        ports=[{"containerPort": 80, "hostPort": port}],
    )
    pod, second = a_pod("a", main), a_pod("b", main)
    site.begin(pod)
    eventually(lambda: inside(site, pod, "wget -qO- http://127.0.0.1/") == "hi\n")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hi\n"
    connection.close()
    with pytest.raises(Refused) as refused:
        site.runtime.open(second, "", 0)
    assert refused.value.reason == "NodePorts"
    site.kill(pod)
    site.runtime.close(uid_of(pod))
    assert site.runtime.open(second, "", 0).address, "the port is free again"


def test_a_pod_of_the_hosts_network_has_the_nodes_address_and_name(site: Site) -> None:
    pod = a_pod("x", a_container(script=LASTING), hostNetwork=True)
    assert site.runtime.open(pod, "127.3.3.3", 0).address == "127.3.3.3"
    site.begin(pod)
    assert inside(site, pod, "hostname").strip() == socket.gethostname()
    assert inside(site, pod, "cat /proc/net/dev").count("eth0") == Path("/proc/net/dev").read_text().count(
        "eth0"
    )


def test_containers_of_no_known_pod_are_removed_and_lost_networks_are_made_again(
    site: Site, client: Any
) -> None:
    known, stray = a_pod("known"), a_pod("stray")
    site.begin(known)
    site.begin(stray)
    node = str((site.directory / "n1").resolve())
    [pause] = ours(client, node, uid=uid_of(known), container=PAUSE)
    site.kill(known)
    client.remove_container(pause["Id"], force=True)
    (site.directory / "n1" / "pods" / uid_of(stray) / "pod.json").unlink()
    [found] = site.again().found()
    assert uid_of(found.pod) == uid_of(known) and found.address
    assert {each["Labels"][UID] for each in ours(client, node)} == {uid_of(known)}
    assert isinstance(site.runtime.start(Run(known, "main", 1)), Started)
    site.runtime.watch(uid_of(known), "main")


def test_a_container_that_somebody_removes_has_ended(site: Site, client: Any) -> None:
    started = site.begin(a_pod())
    client.remove_container(started.container_id.removeprefix("docker://"), force=True)
    end: Exit = site.end()
    assert end.code == 137 and end.container_id == started.container_id


@pytest.mark.parametrize(
    ("script", "policy", "message"),
    [
        ("printf why > /dev/termination-log; exit 1", "File", "why"),
        ("echo said; echo more >&2; exit 1", "File", ""),
        ("echo said; exit 1", "FallbackToLogsOnError", "said"),
        ("echo said; exit 0", "FallbackToLogsOnError", ""),
    ],
)
def test_a_program_may_say_why_it_has_ended(site: Site, script: str, policy: str, message: str) -> None:
    site.begin(a_pod("x", a_container(script=script, terminationMessagePolicy=policy)))
    assert site.end().message == message


def test_a_volume_belongs_to_the_pods_group(site: Site) -> None:
    main = a_container(
        script="touch /data/file && stat -c '%g' /data/file",
        securityContext={"runAsUser": 1000},
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    pod = a_pod("x", main, volumes=[{"name": "data", "emptyDir": {}}], securityContext={"fsGroup": 3000})
    assert run(site, pod) == (0, ["3000"])


def test_log_collectors_find_a_link_to_what_a_container_prints(site: Site) -> None:
    site.begin(a_pod("db-0", a_container(script="echo hello")))
    site.end()
    [link] = (site.directory / "n1" / "container-logs").iterdir()
    assert link.name.startswith("db-0_default_main-") and "hello" in link.read_text()
