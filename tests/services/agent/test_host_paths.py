"""Which hostPaths are each node's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.agent.host_paths import place_of

NODE = Path("/data/nodes/n1")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/etc/cni/net.d", "/data/nodes/n1/net.d"),
        ("/etc/cni/net.d/10-a.conflist", "/data/nodes/n1/net.d/10-a.conflist"),
        ("/var/log/containers/", "/data/nodes/n1/container-logs"),
        ("/var/log", "/var/log"),
        ("/var/log/containers2", "/var/log/containers2"),
        ("/etc/cni", "/etc/cni"),
        ("/srv/data", "/srv/data"),
    ],
)
def test_a_nodes_own_paths_are_below_its_directory_and_others_are_the_machines(path: str, place: str) -> None:
    assert place_of(NODE, path) == Path(place)
