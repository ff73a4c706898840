"""`chronoset kubeconfig`: who gets one, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from schemas.positions import stream_id_of
from services.api.identity.kubeconfigs import kubeconfig
from tests.services.cli.conftest import CommandLine

SERVER = "https://127.0.0.1:6443"


@pytest.fixture
def administrator(tmp_path: Path, chronoset: CommandLine) -> bytes:
    """The administrator's kubeconfig, as an API has written it."""
    content = kubeconfig(SERVER, b"PEM", "c", "c-admin", {"client-key-data": "secret"})
    (tmp_path / "data" / "kubeconfig").write_bytes(content)
    return content


def shown(chronoset: CommandLine, *words: str) -> list[dict[str, object]]:
    found = chronoset("get", *words, "-o", "json", "--at-least", stream_id_of(chronoset.end())).json
    return list(found.get("items", [found]))


def test_the_administrators_is_printed_as_it_is(chronoset: CommandLine, administrator: bytes) -> None:
    assert chronoset("kubeconfig").out == administrator.decode()


def test_without_an_api_there_is_none(chronoset: CommandLine) -> None:
    result = chronoset("kubeconfig")

    assert result.code == 4
    assert "kubeconfig is not there" in result.err and "doctor" in result.err


def test_a_user_gets_a_token_and_a_role_where_it_is_bound(
    chronoset: CommandLine, administrator: bytes
) -> None:
    made = chronoset(
        "kubeconfig", "--user", "bob@example.org", "--role", "view", "-n", "default", "--group", "devs"
    )

    config = yaml.safe_load(made.out)
    assert config["clusters"][0]["cluster"]["server"] == SERVER
    context = config["contexts"][0]["context"]
    assert (context["user"], context["namespace"]) == ("bob@example.org", "default")
    token = config["users"][0]["user"]["token"]
    (secret,) = shown(chronoset, "secrets", "-n", "kube-system")
    assert token.partition(".")[2] not in str(secret)
    (binding,) = shown(chronoset, "rolebindings", "-n", "default")
    assert binding["roleRef"]["name"] == "view"  # type: ignore[index]
    assert binding["subjects"][0]["name"] == "bob@example.org"  # type: ignore[index]


def test_a_role_without_a_namespace_is_for_all_and_two_tokens_are_two(
    chronoset: CommandLine, administrator: bytes
) -> None:
    for _ in range(2):
        assert chronoset("kubeconfig", "--user", "bob", "--role", "edit").code == 0

    assert len(shown(chronoset, "clusterrolebindings")) == 1
    assert len(shown(chronoset, "secrets", "-n", "kube-system")) == 2


def test_tokens_are_taken_back_by_the_name_of_their_user(
    chronoset: CommandLine, administrator: bytes
) -> None:
    for user in ("bob", "bob", "eve"):
        chronoset("kubeconfig", "--user", user)

    assert "took back 2 tokens of bob" in chronoset("kubeconfig", "--user", "bob", "--revoke").err
    assert len(shown(chronoset, "secrets", "-n", "kube-system")) == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--role", "view"], "--user: is missing"),
        (
            ["--user", "bob", "--role", "root"],
            "--role: 'root' is unknown; write one of admin, cluster-admin, edit, view",
        ),
        (["--user", "b b"], "--user: 'b b' is no name"),
        (["--user", "bob", "--group", "a,b"], "--group: 'a,b' is no name"),
        (["--user", "system:masters"], "--user: 'system:masters' is the cluster's own"),
        (["--user", "system:node:n1", "--role", "edit"], "--role: 'edit' is not for a node"),
        (["--user", "bob", "--duration", "soon"], "--duration: 'soon' is no duration"),
        (["--user", "bob", "--duration", "1s"], "--duration: '1s' is too short; write at least 60s"),
        (["--user", "bob", "-n", "No"], "--namespace: 'No'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    chronoset: CommandLine, administrator: bytes, words: list[str], problem: str
) -> None:
    before = chronoset.end()

    result = chronoset("kubeconfig", *words)

    assert result.code == 2 and result.err.count("\n") == 1
    assert problem in result.err
    assert chronoset.end() == before


def test_one_for_the_past_names_a_moment_that_stays_the_same(
    chronoset: CommandLine, administrator: bytes
) -> None:
    def server(*words: str) -> str:
        config = yaml.safe_load(chronoset("kubeconfig", *words).out)
        assert config["users"][0]["user"], words
        return str(config["clusters"][0]["cluster"]["server"])

    assert server("--at", "2026-11-22T10:00:00+01:00") == f"{SERVER}/at/2026-11-22T09:00:00.000Z"
    assert server("--at", "1763864279000-0") == f"{SERVER}/at/1763864279000-0"
    assert server("--user", "bob", "--at", "1763864279000-0") == f"{SERVER}/at/1763864279000-0"
    assert server("--at", "10 minutes ago").endswith("Z")

    refused = chronoset("kubeconfig", "--at", "2026-11-22T10:00:00")
    assert refused.code == 2 and "has no time zone" in refused.err
