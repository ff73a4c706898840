"""`chronoset agent token list` and `revoke`."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.positions import stream_id_of
from services.api.identity.authorities import authority_in
from services.api.identity.kubeconfigs import kubeconfig
from tests.services.cli.conftest import CommandLine

NOW = 1_700_000_000_000


@pytest.fixture
def with_tokens(chronoset: CommandLine, tmp_path: Path) -> CommandLine:
    """Bob has a token of an hour, and n4 one of a month."""
    authority = authority_in(tmp_path / "authority", NOW).pem
    known = kubeconfig("https://127.0.0.1:6443", authority, "c", "c-admin", {"token": "t"})
    (tmp_path / "data" / "kubeconfig").write_bytes(known)
    assert chronoset("kubeconfig", "--user", "bob", "--group", "devs", "--duration", "1h").code == 0
    assert chronoset("kubeconfig", "--user", "system:node:n4").code == 0
    assert chronoset("get", "ns", "--at-least", stream_id_of(chronoset.end())).code == 0
    return chronoset


def test_the_tokens_that_hold_are_listed_by_what_they_begin_with(with_tokens: CommandLine) -> None:
    listed = with_tokens("agent", "token", "list")
    header, bob, node = (line.split() for line in listed.out.splitlines())
    assert header == ["ID", "USER", "FOR", "AGE", "ENDS", "IN"]
    assert bob[1:4] == ["bob", "a", "user"] and bob[-1] in ("59m", "60m", "3600s", "1h")
    assert node[1:4] == ["system:node:n4", "a", "node"]
    records = with_tokens("agent", "token", "list", "-o", "json").json
    assert [(each["user"], each["groups"]) for each in records] == [
        ("bob", ["devs"]),
        ("system:node:n4", ["system:nodes"]),
    ]
    assert [len(each["id"]) for each in records] == [16, 16]


def test_one_that_is_taken_back_is_there_no_more_and_the_log_says_by_whom(with_tokens: CommandLine) -> None:
    bob, node = with_tokens("agent", "token", "list", "-o", "json").json
    revoked = with_tokens("agent", "token", "revoke", bob["id"], "--actor", "alice")
    assert (revoked.code, revoked.err) == (0, f"took back the token {bob['id']} of bob\n")
    assert with_tokens("get", "ns", "--at-least", stream_id_of(with_tokens.end())).code == 0
    assert with_tokens("agent", "token", "list", "-o", "json").json == [node]
    again = with_tokens("agent", "token", "revoke", node["id"], bob["id"])
    assert again.code == 2 and f"ID: '{bob['id']}' is no token's" in again.err
    assert with_tokens("agent", "token", "list", "-o", "json").json == [node]
    assert "SecretDeleted" in with_tokens("replay", "log", "--actor", "alice").out


@pytest.mark.parametrize(("url", "is_said"), [("", True), ("https://10.0.0.1:6443", False)])
def test_who_makes_a_token_is_told_when_no_other_machine_can_use_the_url(
    with_tokens: CommandLine, url: str, is_said: bool
) -> None:
    made = with_tokens("agent", "token", "create", *(["--url", url] if url else []))
    assert made.out.startswith(f"chronoset agent join {url or 'https://127.0.0.1:6443'} --token ")
    assert ("reaches the API from this machine only" in made.err) is is_said


def test_without_tokens_that_is_said(chronoset: CommandLine) -> None:
    assert chronoset("get", "ns", "--at-least", stream_id_of(chronoset.end())).code == 0
    assert chronoset("agent", "token", "list").out == "no tokens\n"
    assert chronoset("agent", "token", "list", "-o", "json").json == []
