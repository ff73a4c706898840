"""Pictures of a stretch of the log: who is where, of which revision, and what has just happened."""

from __future__ import annotations

import io

from rich.console import Console

from events.codec import decode
from events.state import State
from services.cli.playing import Picture, _rendered, picture_text, pictures
from tests.services.history.test_causes import a_cluster, new_image
from tests.walks.clusters import Cluster


def pictures_of(cluster: Cluster) -> list[Picture]:
    return list(pictures(State(), [decode(entry) for entry in cluster.log.read(0, 100_000)]))


def test_a_rollout_is_seen_pod_by_pod() -> None:
    cluster = a_cluster(replicas=2)
    new_image(cluster)
    seen = [
        tuple(sorted((pod.name, pod.revision) for _, _, pods in picture.nodes for pod in pods))
        for picture in pictures_of(cluster)
    ]
    order = [each for index, each in enumerate(seen) if not index or each != seen[index - 1]]
    assert order == [
        (),
        (("web-0", 0),),
        (("web-0", 0), ("web-1", 0)),
        (("web-0", 0),),
        (("web-0", 0), ("web-1", 1)),
        (("web-1", 1),),
        (("web-0", 1), ("web-1", 1)),
    ]


def test_a_revision_keeps_its_number_and_is_told_with_its_image() -> None:
    cluster = a_cluster(replicas=2)
    new_image(cluster)
    last = pictures_of(cluster)[-1]
    assert last.revisions == ("web 1 (web:1)", "web 2 (web:2)")
    text = picture_text(last)
    assert "● web-0[2]" in text and "[1] web 1 (web:1)" in text and "NotReady" not in text


def test_on_a_terminal_pods_have_the_colour_of_their_revision() -> None:
    cluster = a_cluster(replicas=1)
    new_image(cluster)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", width=100, height=30)
    console.print(_rendered(pictures_of(cluster)[-1], 60, 12))
    text = shown.getvalue()
    assert "\x1b[33m● web-0" in text and "\x1b[36m■ web 1 (web:1)" in text and "60 times as fast" in text
