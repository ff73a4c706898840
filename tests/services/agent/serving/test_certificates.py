"""The certificate of a node's server: when it is asked for, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from events.memory import wall_clock
from schemas.errors import Unavailable
from services.agent.serving.certificates import Named, ServingCertificate
from services.api.identity.node_certificates import node_certificate, nodes_authority

ADDRESS = "10.0.0.4"
DAY = 86_400_000


class Cluster:
    """Signs, and counts what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.authority = nodes_authority(folder / "api", wall_clock())
        self.asked: list[bytes] = []

    def sign(self, request: bytes, now: int, address: str = ADDRESS) -> tuple[bytes, bytes]:
        self.asked.append(request)
        return node_certificate(self.authority, request, "n1", [address], now), self.authority.pem


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def a_certificate(tmp_path: Path, cluster: Cluster, now: int, address: str = ADDRESS) -> ServingCertificate:
    found = ServingCertificate(
        tmp_path / "serving.pem", Named("n1", address), lambda asked: cluster.sign(asked, now, address)
    )
    found.refresh(now)
    return found


def test_it_is_asked_for_once_and_kept_for_the_owner_alone(tmp_path: Path, cluster: Cluster) -> None:
    now = wall_clock()
    assert a_certificate(tmp_path, cluster, now).tls is not None
    kept = (tmp_path / "serving.pem").read_bytes()
    assert a_certificate(tmp_path, cluster, now + 200 * DAY).tls is not None
    assert len(cluster.asked) == 1
    assert (tmp_path / "serving.pem").read_bytes() == kept
    assert (tmp_path / "serving.pem").stat().st_mode & 0o777 == 0o600


def older(path: Path) -> int:
    return 300 * DAY


def damaged(path: Path) -> int:
    path.write_bytes(path.read_bytes()[:900])
    return 0


def removed(path: Path) -> int:
    path.unlink()
    return 0


@pytest.mark.parametrize("happens", [older, damaged, removed])
def test_another_with_another_key_is_asked_for_where_it_is_needed(
    tmp_path: Path, cluster: Cluster, happens: Callable[[Path], int]
) -> None:
    now, path = wall_clock(), tmp_path / "serving.pem"
    a_certificate(tmp_path, cluster, now)
    before = path.read_bytes()
    later = now + happens(path)
    a_certificate(tmp_path, cluster, later)
    assert len(cluster.asked) == 2 and cluster.asked[0] != cluster.asked[1]
    assert path.read_bytes() != before


def test_another_address_needs_another_certificate(tmp_path: Path, cluster: Cluster) -> None:
    now = wall_clock()
    a_certificate(tmp_path, cluster, now)
    a_certificate(tmp_path, cluster, now, "10.0.0.5")
    a_certificate(tmp_path, cluster, now, "10.0.0.5")
    assert len(cluster.asked) == 2


def test_what_is_there_is_served_while_the_cluster_is_away(tmp_path: Path, cluster: Cluster) -> None:
    now = wall_clock()
    a_certificate(tmp_path, cluster, now)

    def away(_request: bytes) -> tuple[bytes, bytes]:
        raise Unavailable("the API does not answer")

    found = ServingCertificate(tmp_path / "serving.pem", Named("n1", ADDRESS), away)
    with pytest.raises(Unavailable, match="the API does not answer"):
        found.refresh(now + 364 * DAY)
    assert found.tls is not None


def test_a_certificate_of_another_key_is_not_taken(tmp_path: Path, cluster: Cluster) -> None:
    now = wall_clock()
    a_certificate(tmp_path, cluster, now)
    other = cluster.sign(cluster.asked[0], now)
    (tmp_path / "serving.pem").unlink()
    found = ServingCertificate(tmp_path / "serving.pem", Named("n1", ADDRESS), lambda _: other)
    with pytest.raises(Unavailable, match="another certificate than the one that was asked for"):
        found.refresh(now)
    assert found.tls is None and not (tmp_path / "serving.pem").exists()
