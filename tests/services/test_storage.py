"""When the log refuses writes, and how that gets to the writers."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest
import redis

from events.keys import heads_key
from services.storage import GIB, StorageGuard, StorageUsage, disk_limit, verdict

MIB = 1 << 20


def usage(
    free: int | None = 100 * GIB, total: int | None = 200 * GIB, used: int = 0, limit: int = 0
) -> StorageUsage:
    return StorageUsage(free, total, used, limit)


@pytest.mark.parametrize(
    ("total", "limit"), [(4096 * GIB, GIB), (20 * GIB, GIB), (10 * GIB, GIB // 2), (GIB, int(0.05 * GIB))]
)
def test_the_disk_limit_is_five_percent_but_never_more_than_one_gibibyte(total: int, limit: int) -> None:
    assert disk_limit(total) == limit


@pytest.mark.parametrize(
    ("case", "previous", "level"),
    [
        (usage(), "", ""),
        (usage(free=GIB), "", ""),
        (usage(free=GIB - 1), "", "deletes"),
        (usage(free=GIB // 2), "", "deletes"),
        (usage(free=GIB // 2 - 1), "", "all"),
        (usage(free=0), "", "all"),
        (usage(free=GIB), "deletes:x", "deletes"),
        (usage(free=int(1.1 * GIB) + 1), "deletes:x", ""),
        (usage(free=GIB // 2), "all:x", "all"),
        (usage(free=int(0.56 * GIB)), "all:x", "deletes"),
        (usage(free=10 * MIB, total=100 * MIB), "", ""),
        (usage(free=4 * MIB, total=100 * MIB), "", "deletes"),
        (usage(None, None), "", ""),
        (usage(used=84, limit=100), "", ""),
        (usage(used=86, limit=100), "", "deletes"),
        (usage(used=96, limit=100), "", "all"),
        (usage(used=84, limit=100), "deletes:x", "deletes"),
        (usage(used=83, limit=100), "deletes:x", ""),
        (usage(used=10**12, limit=0), "", ""),
        (usage(free=GIB - 1, used=96, limit=100), "", "all"),
        (usage(free=0, used=86, limit=100), "", "all"),
    ],
)
def test_writes_end_first_and_deletes_last(case: StorageUsage, previous: str, level: str) -> None:
    assert verdict(case, previous).partition(":")[0] == level


def test_a_reason_names_what_is_short_and_does_not_change_with_every_byte() -> None:
    assert (
        verdict(usage(free=GIB - 1)) == "deletes:the log's disk has less than 1024 MiB free: make room on it"
    )
    assert verdict(usage(free=GIB - 1)) == verdict(usage(free=GIB - 5000))
    assert "maxmemory of 100 MiB" in verdict(usage(used=90 * MIB, limit=100 * MIB))


class MeteredFake(fakeredis.FakeRedis):
    """fakeredis, telling the memory that a test wants."""

    memory = (0, 0)

    def info(self, *_args: object, **_kwargs: object) -> dict[str, int]:
        return {"used_memory": self.memory[0], "maxmemory": self.memory[1]}


def a_log_server(memory: tuple[int, int] = (0, 0), refuse: str | None = None) -> MeteredFake:
    client = MeteredFake(server=fakeredis.FakeServer())
    client.memory = memory
    client.hset(heads_key("c"), "log", "an-id")
    if refuse is not None:
        client.hset(heads_key("c"), "refuse", refuse)
    return client


def refusal(client: redis.Redis) -> bytes | None:
    return client.hget(heads_key("c"), "refuse")  # type: ignore[return-value]


def test_the_verdict_is_written_where_the_append_script_reads_it_and_lifted_again(tmp_path: Path) -> None:
    client = a_log_server(memory=(90, 100))
    guard = StorageGuard(client, "c", tmp_path)
    assert guard.inspect().startswith("deletes:")
    assert refusal(client) == guard.inspect().encode()
    client.memory = (10, 100)
    assert guard.inspect() == ""
    assert refusal(client) == b""


def test_lost_history_refuses_everything_and_is_lifted_by_the_owner_alone(tmp_path: Path) -> None:
    client = a_log_server()
    assert (
        StorageGuard(client, "c", tmp_path).inspect("worker found history lost")
        == "all:worker found history lost"
    )
    assert StorageGuard(client, "c", None).inspect() == "all:worker found history lost"
    assert StorageGuard(client, "c", tmp_path).inspect() == ""


def test_a_guard_of_somebody_elses_server_judges_only_its_memory() -> None:
    client = a_log_server(refuse="deletes:the log's disk has less than 1024 MiB free: make room on it")
    guard = StorageGuard(client, "c", None)
    assert "disk" in guard.inspect("ignored here")
    client.memory = (99, 100)
    assert guard.inspect().startswith("all:the log's server is close to its maxmemory")
    client.memory = (1, 100)
    assert guard.inspect() == ""


def test_a_server_without_a_log_is_left_alone(tmp_path: Path) -> None:
    client = MeteredFake(server=fakeredis.FakeServer())
    assert StorageGuard(client, "c", tmp_path).inspect("lost") == ""
    assert client.keys() == []
