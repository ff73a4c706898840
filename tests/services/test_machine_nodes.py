"""Where nodes of `up` find their API, and what they show it: real certificates, and files as the API leaves them."""

from __future__ import annotations

import os
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from events.files import write_private
from events.memory import wall_clock
from schemas.errors import Unavailable
from services.api.identity.authorities import (
    Authority,
    authority_in,
    client_pem,
    server_pem,
    tls_context,
    user_of,
)
from services.api.keepers import Identities
from services.command_protocol import Place, answering
from services.machine_nodes import OwnPlace
from services.node_protocol import IDENTITY_FILE
from tests.services.api.identity.handshakes import shake_hands


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path / "api", wall_clock())


def identities(authority: Authority, folder: Path, names: list[str]) -> Identities:
    return Identities(authority, folder, lambda: tuple(names), wall_clock)


def seen_by_api(authority: Authority, place: OwnPlace) -> tuple[str, tuple[str, ...]]:
    """Shake hands as the API does, and return whom it sees. Raises ssl.SSLError where either does not believe."""
    server = tls_context(authority, server_pem(authority, ("api",), wall_clock()))
    ours, _ = shake_hands(server, place.tls)
    user, _ = user_of(ours.getpeercert(binary_form=True) or b"")
    return user.name, user.groups


def test_each_node_of_the_list_has_an_identity_as_soon_as_it_is_on_it(
    authority: Authority, tmp_path: Path
) -> None:
    names = ["n1"]
    keeping = identities(authority, tmp_path / "nodes", names)
    keeping.look()
    before = (tmp_path / "nodes/n1" / IDENTITY_FILE).read_bytes()
    names.append("n2")
    keeping.look()
    assert (tmp_path / "nodes/n1" / IDENTITY_FILE).read_bytes() == before
    for name in names:
        place = OwnPlace(tmp_path / "api", tmp_path / "nodes" / name / IDENTITY_FILE)
        with answering(tmp_path / "api", Place("https://127.0.0.1:6443", "log")):
            assert place.url == "https://127.0.0.1:6443"
        assert seen_by_api(authority, place) == (f"system:node:{name}", ("system:nodes",))


def test_an_identity_that_cannot_be_written_is_tried_again(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("in the way")
    keeping = identities(authority, tmp_path / "nodes", ["n1"])
    keeping.look()
    (tmp_path / "nodes").unlink()
    keeping.look()
    assert (tmp_path / "nodes/n1" / IDENTITY_FILE).exists()


def test_a_place_is_where_the_api_answers_now_and_unknown_while_none_does(
    authority: Authority, tmp_path: Path
) -> None:
    identities(authority, tmp_path / "nodes", ["n1"]).look()
    place = OwnPlace(tmp_path / "api", tmp_path / "nodes/n1" / IDENTITY_FILE)
    with pytest.raises(Unavailable, match="that it answers"):
        _ = place.url
    for url in ("https://127.0.0.1:6443", "https://127.0.0.1:40000"):
        with answering(tmp_path / "api", Place(url, "log")):
            assert place.url == url


def test_a_node_without_an_identity_does_not_know_where_to_go(authority: Authority, tmp_path: Path) -> None:
    place = OwnPlace(tmp_path / "api", tmp_path / "nodes/n1" / IDENTITY_FILE)
    with (
        answering(tmp_path / "api", Place("https://127.0.0.1:6443", "log")),
        pytest.raises(Unavailable, match="cannot be shown to the API"),
    ):
        _ = place.url


def test_an_identity_that_is_renewed_is_shown_at_the_next_handshake(
    authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / IDENTITY_FILE
    place = OwnPlace(tmp_path / "api", file)
    with answering(tmp_path / "api", Place("https://127.0.0.1:6443", "log")):
        for number, name in enumerate(("first", "second")):
            pem = client_pem(authority, name, (), timedelta(days=1), wall_clock())
            write_private(file, b"".join(pem))
            os.utime(file, ns=(number + 1, number + 1))
            assert place.url and seen_by_api(authority, place)[0] == name


def test_a_server_of_another_authority_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    identities(authority, tmp_path / "nodes", ["n1"]).look()
    place = OwnPlace(tmp_path / "api", tmp_path / "nodes/n1" / IDENTITY_FILE)
    with answering(tmp_path / "api", Place("https://127.0.0.1:6443", "log")):
        assert place.url
    with pytest.raises(ssl.SSLCertVerificationError):
        seen_by_api(authority_in(tmp_path / "other", wall_clock()), place)
