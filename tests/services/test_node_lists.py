"""The list of the nodes that a machine plays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from schemas.errors import AlreadyExists, BadRequest, NotFound
from services.node_lists import (
    MOST_NODES,
    add_name,
    checked_name,
    read_names,
    remove_name,
    write_names,
)


def test_there_is_no_list_until_one_is_begun(tmp_path: Path) -> None:
    assert read_names(tmp_path) is None
    write_names(tmp_path, ())
    assert read_names(tmp_path) == ()


def test_nodes_come_and_go_and_keep_their_order(tmp_path: Path) -> None:
    write_names(tmp_path, ("n1", "n2"))
    add_name(tmp_path, "gpu.rack-1")
    remove_name(tmp_path, "n1")
    remove_name(tmp_path, "n1")
    assert read_names(tmp_path) == ("n2", "gpu.rack-1")


def test_a_node_is_added_once(tmp_path: Path) -> None:
    write_names(tmp_path, ("n1",))
    with pytest.raises(AlreadyExists, match="'n1' is on this machine already"):
        add_name(tmp_path, "n1")


def test_only_a_machine_that_runs_nodes_has_a_list(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no list of nodes"):
        add_name(tmp_path, "n1")


@pytest.mark.parametrize(
    "name", ["", "../n1", "a/b", ".", "..", "N1", "n_1", "-n", "n-", "a..b", "n" * 64, "ä", "n 1"]
)
def test_a_name_that_is_a_path_or_no_dns_name_is_refused(tmp_path: Path, name: str) -> None:
    write_names(tmp_path, ("n1",))
    with pytest.raises(BadRequest, match="is no name for a node: write at most 63"):
        add_name(tmp_path, name)
    assert read_names(tmp_path) == ("n1",)


@pytest.mark.parametrize("name", ["n", "n1", "a-b.c-d", "0", "n" * 63])
def test_a_dns_name_is_a_name(name: str) -> None:
    assert checked_name(name) == name


def test_a_machine_plays_a_hundred_nodes_and_no_more(tmp_path: Path) -> None:
    write_names(tmp_path, tuple(f"n{number}" for number in range(MOST_NODES)))
    with pytest.raises(BadRequest, match="at most 100"):
        add_name(tmp_path, "one-more")


def test_of_nodes_added_at_the_same_time_none_is_lost(tmp_path: Path) -> None:
    write_names(tmp_path, ())
    names = [f"n{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(add_name, tmp_path), names))
    assert sorted(read_names(tmp_path) or ()) == sorted(names)
