"""Ending a cluster from another terminal."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from schemas.errors import BadRequest
from services.processes import is_alive
from services.settings import settings_from
from services.shutdowns import end_cluster
from tests.services.test_supervisor import all_processes, is_complete, running_cluster, start_up, wait_for


@pytest.mark.server
@pytest.mark.e2e
@pytest.mark.parametrize("how", ["in order", "killed before", "stopped for good"])
def test_whatever_became_of_a_cluster_nothing_of_it_stays(tmp_path: Path, how: str) -> None:
    data_dir = tmp_path / "data"
    settings = settings_from(os.environ, data_dir)
    with running_cluster(data_dir) as up:
        processes = all_processes(data_dir)
        if how == "killed before":
            up.kill()
        if how == "stopped for good":
            os.kill(up.pid, signal.SIGSTOP)
        wait_for(lambda: how != "killed before" or up.poll() is not None)
        was_running = end_cluster(
            settings, delete_data=True, patience=1.0 if how == "stopped for good" else 20.0
        )
    assert was_running or how == "killed before"
    assert not any(map(is_alive, processes))
    assert not settings.socket_dir.exists()
    assert not data_dir.exists()


@pytest.mark.server
@pytest.mark.e2e
def test_data_is_kept_unless_it_is_to_be_deleted_and_a_cluster_can_start_on_it_again(tmp_path: Path) -> None:
    with running_cluster(tmp_path):
        assert end_cluster(settings_from(os.environ, tmp_path))
    assert (tmp_path / "log").is_dir()
    assert not end_cluster(settings_from(os.environ, tmp_path))
    up = start_up(tmp_path)
    wait_for(lambda: is_complete(tmp_path))
    up.terminate()
    up.communicate()


def test_a_directory_that_is_not_ours_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(BadRequest, match="holds no cluster's data, so it is not deleted"):
        end_cluster(settings_from({}, tmp_path), delete_data=True)
    assert (tmp_path / "thesis.txt").exists()


def test_where_nothing_is_nothing_is_made(tmp_path: Path) -> None:
    assert not end_cluster(settings_from({}, tmp_path / "none"))
    assert not (tmp_path / "none").exists()
