"""The links by which log collectors find what containers print."""

from __future__ import annotations

import re
from pathlib import Path

from services.agent.runtimes.log_links import LogLinks
from tests.services.agent.builders import a_pod


def links_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_log_is_found_by_pod_namespace_and_container_as_the_kubelet_names_it(tmp_path: Path) -> None:
    links, log = LogLinks(tmp_path / "links"), tmp_path / "log"
    links.add(a_pod("db-0"), "main", "process://1/main/0", log)
    log.write_text("a line\n")
    (name,) = links_in(tmp_path / "links")
    assert re.fullmatch(r"db-0_default_main-[0-9a-f]{64}\.log", name)
    assert (tmp_path / "links" / name).read_text() == "a line\n"


def test_the_longest_name_of_a_pod_fits_into_a_file_name(tmp_path: Path) -> None:
    LogLinks(tmp_path).add(a_pod("p" * 253), "c" * 63, "process://1/main/0", tmp_path / "log")
    assert [len(name) for name in links_in(tmp_path) if name != "log"] == [251]


def test_tidying_removes_the_links_of_logs_that_are_gone_and_no_other(tmp_path: Path) -> None:
    links = LogLinks(tmp_path / "links")
    for number in (1, 2):
        links.add(a_pod(f"db-{number}"), "main", f"process://{number}", tmp_path / f"log-{number}")
    (tmp_path / "log-1").unlink()
    links.tidy()
    assert [name.partition("_")[0] for name in links_in(tmp_path / "links")] == ["db-2"]
