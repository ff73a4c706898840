"""What a container is asked to be, and whom it asks for names: tables."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from schemas.objects import Object
from services.agent.images import parse_reference
from services.agent.runtimes.docker.images import Image, policy_of
from services.agent.runtimes.docker.resolvers import Resolver, host_resolver, resolver_of
from services.agent.runtimes.docker.specs import (
    MOST_PROCESSES,
    Around,
    Creation,
    check_ports_on_host,
    creation_of,
    host_ports_of,
    resources_of,
    user_of,
)
from services.agent.runtimes.docker.states import exit_of, is_over
from services.agent.runtimes.port import Refused, Run
from services.agent.runtimes.volumes import Mount
from services.agent.sources import BadConfiguration
from tests.services.agent.builders import a_container, a_pod

DIGEST = "sha256:" + "a" * 64
HOST = Resolver(("10.0.0.53",), ("example.org",), ("ndots:1",))


def created(container: Object, image: Image = Image(DIGEST), **pod: Any) -> Creation:  # noqa: B008
    run = Run(a_pod("db-0", container, **pod), "main", 0)
    mounts = [Mount("data", "/host/data", "/data", read_only=True, propagation="HostToContainer")]
    return creation_of(run, container, Around("pause-id", image, mounts, "/pods/hosts"))


@pytest.mark.parametrize(
    ("image", "written", "policy"),
    [
        ("db:5.7", None, "IfNotPresent"),
        ("db", None, "Always"),
        ("db:latest", None, "Always"),
        (f"db@{DIGEST}", None, "IfNotPresent"),
        ("db:latest", "Never", "Never"),
        ("db:5.7", "Always", "Always"),
    ],
)
def test_an_image_is_pulled_by_its_policy_and_latest_always(
    image: str, written: str | None, policy: str
) -> None:
    assert parse_reference(image).name == "db"
    assert policy_of({"image": image} | ({"imagePullPolicy": written} if written else {})) == policy


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {}),
        ({"limits": {"memory": "64Mi"}}, {"mem_limit": 64 << 20, "memswap_limit": 64 << 20}),
        ({"limits": {"cpu": "1500m"}}, {"cpu_period": 100_000, "cpu_quota": 150_000, "cpu_shares": 1536}),
        ({"limits": {"cpu": "1m"}}, {"cpu_period": 100_000, "cpu_quota": 1_000, "cpu_shares": 2}),
        ({"requests": {"cpu": "250m"}}, {"cpu_shares": 256}),
        ({"requests": {"memory": "1Gi"}}, {}),
    ],
)
def test_limits_are_the_kubelets(resources: Object, expected: dict[str, int]) -> None:
    assert resources_of({"resources": resources}) == {"pids_limit": MOST_PROCESSES, **expected}


@pytest.mark.parametrize(
    ("context", "image_user", "user"),
    [
        ({}, "", ""),
        ({}, "nobody", ""),
        ({"runAsUser": 1000}, "", "1000"),
        ({"runAsUser": 1000, "runAsGroup": 2000}, "nobody", "1000:2000"),
        ({"runAsGroup": 2000}, "1001:5", "1001:2000"),
        ({"runAsUser": 0, "runAsNonRoot": False}, "", "0"),
        ({"runAsNonRoot": True}, "1001", ""),
    ],
)
def test_a_program_runs_as_whom_its_context_says_else_its_image(
    context: Object, image_user: str, user: str
) -> None:
    assert user_of(context, Image(DIGEST, image_user), "main") == user


@pytest.mark.parametrize(
    ("context", "image_user", "why"),
    [
        ({"runAsNonRoot": True}, "", "image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "1001", "would run as root"),
        ({"runAsNonRoot": True}, "nobody", r"non-numeric user \(nobody\)"),
    ],
)
def test_what_may_not_be_root_is_refused_where_it_may_be(context: Object, image_user: str, why: str) -> None:
    with pytest.raises(BadConfiguration, match=why):
        user_of(context, Image(DIGEST, image_user), "main")


def test_a_command_replaces_entrypoint_and_default_arguments_and_is_expanded() -> None:
    env = [{"name": "NAME", "value": "x-$(POD_NAME)"}]
    found = created(a_container(command=["run", "$(NAME)"], args=["$(NOPE)", "$$(NAME)"], env=env)).config
    assert (found["entrypoint"], found["command"]) == (["run", "x-db-0"], ["$(NOPE)", "$(NAME)"])
    assert found["environment"]["VOLUME_DATA"] == "/data" and found["image"] == DIGEST
    plain = created({"name": "main", "image": "db:1", "args": ["only"]}).config
    assert (plain["entrypoint"], plain["command"]) == (None, ["only"])


def test_a_container_is_in_its_pods_namespaces_with_mounts_and_hosts_file() -> None:
    found = created(a_container()).host
    assert (found["network_mode"], found["ipc_mode"]) == ("container:pause-id", "container:pause-id")
    assert "pid_mode" not in found
    assert created(a_container(), shareProcessNamespace=True).host["pid_mode"] == "container:pause-id"
    assert created(a_container(), hostPID=True, hostIPC=True).host["pid_mode"] == "host"
    assert found["mounts"] == [
        {
            "Type": "bind",
            "Source": "/host/data",
            "Target": "/data",
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rslave"},
        },
        {"Type": "bind", "Source": "/pods/hosts", "Target": "/etc/hosts", "ReadOnly": False},
    ]


def test_a_security_context_is_carried_over_the_containers_own_before_the_pods() -> None:
    context = {
        "privileged": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "seccompProfile": {"type": "Unconfined"},
    }
    pod = {"runAsUser": 7, "fsGroup": 8, "supplementalGroups": [9]}
    found = created(a_container(securityContext={**context, "runAsUser": 70}), securityContext=pod)
    assert found.config["user"] == "70" and found.host["group_add"] == ["9", "8"]
    assert (found.host["privileged"], found.host["read_only"]) == (True, True)
    assert (found.host["cap_add"], found.host["cap_drop"]) == (["NET_ADMIN"], ["ALL"])
    assert found.host["security_opt"] == ["no-new-privileges:true", "seccomp=unconfined"]
    with pytest.raises(BadConfiguration, match="'Localhost' is not supported"):
        created(a_container(securityContext={"seccompProfile": {"type": "Localhost"}}))


def test_host_ports_are_published_but_those_of_the_hosts_network_are_not() -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]
    assert host_ports_of(a_pod("x", a_container(ports=ports))) == {"80/tcp": [("", 8080)]}
    assert host_ports_of(a_pod("x", a_container(ports=ports), hostNetwork=True)) == {}


@pytest.mark.parametrize(
    ("fields", "server", "expected"),
    [
        (
            {},
            "10.1.1.1",
            Resolver(
                ("10.1.1.1", "10.0.0.53"),
                ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"),
                ("ndots:5",),
            ),
        ),
        ({}, "", HOST),
        ({"dnsPolicy": "Default"}, "10.1.1.1", HOST),
        ({"hostNetwork": True}, "10.1.1.1", HOST),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["a.b"]}},
            "10.1.1.1",
            Resolver(("9.9.9.9",), ("a.b",)),
        ),
        (
            {
                "dnsPolicy": "Default",
                "dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
            },
            "",
            Resolver(HOST.servers, HOST.searches, ("ndots:2", "edns0")),
        ),
    ],
)
def test_names_are_asked_for_by_dns_policy_and_config(
    fields: Object, server: str, expected: Resolver
) -> None:
    assert resolver_of(a_pod(**fields), server, HOST, "cluster.local") == expected


def test_a_server_that_only_the_host_reaches_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# hi\nnameserver 127.0.0.53\nnameserver 10.0.0.53\nsearch a b\nsearch c\noptions ndots:1 edns0\n"
    )
    assert host_resolver(path) == Resolver(("10.0.0.53",), ("c",), ("ndots:1", "edns0"))
    assert host_resolver(tmp_path / "none") == Resolver()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"ExitCode": 0}, "Completed"),
        ({"ExitCode": 137, "OOMKilled": True}, "OOMKilled"),
        ({"ExitCode": 137, "OOMKilled": False}, "Error"),
    ],
)
def test_ends_have_kubernetes_reasons(state: Object, reason: str) -> None:
    times = {"StartedAt": "2026-11-23T05:38:30.146754708Z", "FinishedAt": "2026-11-23T05:38:31Z"}
    end = exit_of({"Id": "abc", "State": {"Status": "exited", **times, **state}})
    assert (end.reason, end.code, end.container_id) == (reason, state["ExitCode"], "docker://abc")
    assert end.finished_at - end.started_at in (853, 854)


def test_a_container_that_was_only_created_is_not_over() -> None:
    assert not is_over({"Status": "created", "Running": False, "StartedAt": "0001-01-01T00:00:00Z"})
    assert is_over({"Status": "exited", "Running": False, "StartedAt": "2026-11-23T05:38:30Z"})


@pytest.mark.parametrize(
    ("port", "is_refused"), [({}, False), ({"hostPort": 80}, False), ({"hostPort": 8080}, True)]
)
def test_on_the_hosts_network_a_port_is_the_same_inside_and_outside(port: Object, is_refused: bool) -> None:
    pod = a_pod("x", a_container(ports=[{"containerPort": 80, **port}]))
    with (
        pytest.raises(Refused, match="hostPort 8080 is not containerPort 80") if is_refused else nullcontext()
    ):
        check_ports_on_host(pod)
