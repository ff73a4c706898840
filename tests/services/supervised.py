"""A supervisor with small programs, for the tests to run as a process of its own:

python -m tests.services.supervised DATA_DIR [late] [lost] [refusing]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import redis

from events.keys import heads_key
from schemas.errors import BadRequest, LostHistory
from schemas.times import Milliseconds
from services.connections import connect
from services.programs import Program
from services.settings import Settings, settings_from
from services.supervisor import Supervisor


def tick(settings: Settings) -> None:
    """Count in the log's server for ever, patient with its restarts."""
    client = connect(settings.log_url, "tick")
    while True:
        client.incr("ticks")
        time.sleep(0.01)


def ignore_everything(_settings: Settings) -> None:
    """A program that must be killed."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def write_once(settings: Settings) -> None:
    (settings.data_dir / "once").open("a").write("x")


def come_late(settings: Settings) -> None:
    """A program that is ready once somebody lets it be."""
    while not (settings.data_dir / "begin").exists():
        time.sleep(0.01)
    (settings.data_dir / "began").touch()
    time.sleep(60)


def has_come(settings: Settings, moment: Milliseconds) -> bool:
    began = settings.data_dir / "began"
    return began.exists() and began.stat().st_mtime_ns // 1_000_000 >= moment


def lose_history(settings: Settings) -> None:
    with (settings.data_dir / "losses").open("a") as file:
        file.write("x")
    raise LostHistory("the log is shorter than remembered", position=7 << 20)


def refuse(_settings: Settings) -> None:
    raise BadRequest("--api-port: 6443 is taken")


def create_log(settings: Settings) -> None:
    client: redis.Redis = connect(settings.log_url, "prepare", retries=0)
    client.hset(heads_key(settings.cluster), "log", "an-id")
    client.close()


def main(data_dir: str, *modes: str) -> int:
    programs = [
        Program("tick", tick, count=2, nice=3),
        Program("stubborn", ignore_everything, grace=0.2),
        Program("once", write_once, once=True),
    ]
    if "late" in modes:
        programs.append(Program("late", come_late, is_ready=has_come))
    if "lost" in modes:
        programs.append(Program("loser", lose_history))
    if "refusing" in modes:
        programs.append(Program("refuser", refuse))
    settings = settings_from(os.environ, Path(data_dir))
    return Supervisor(settings, programs, prepare=create_log).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
