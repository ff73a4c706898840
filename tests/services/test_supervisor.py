"""The supervisor, with real servers and real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from events.keys import heads_key
from schemas.errors import AlreadyExists
from services.clusters import ClusterRecord, Member, read_record
from services.data_dirs import lock_data_dir
from services.processes import ProcessId, is_alive
from services.settings import Settings, joined, settings_from
from services.shutdowns import end_cluster
from services.supervisor import FIRST_PAUSE, LONGEST_PAUSE, next_pause

pytestmark = [pytest.mark.server, pytest.mark.e2e]

EVERYBODY = {"log", "queue", "tick-1", "tick-2", "stubborn", "once"}
PATIENCE = 20.0


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def start_up(data_dir: Path, *modes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.services.supervised", str(data_dir), *modes],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def record_of(data_dir: Path) -> ClusterRecord:
    record = read_record(data_dir)
    assert record is not None
    return record


def members_of(data_dir: Path) -> dict[str, Member]:
    record = read_record(data_dir)
    return {member.name: member for member in record.members} if record else {}


def process_of(data_dir: Path, name: str) -> ProcessId:
    process = members_of(data_dir)[name].process
    assert process is not None
    return process


def is_complete(data_dir: Path) -> bool:
    record, members = read_record(data_dir), members_of(data_dir)
    alive = record is not None and is_alive(record.supervisor)
    return (
        alive
        and set(members) >= EVERYBODY
        and all(
            member.state in ("running", "finished") for name, member in members.items() if name in EVERYBODY
        )
    )


@contextmanager
def running_cluster(data_dir: Path, *modes: str) -> Iterator[subprocess.Popen[str]]:
    up = start_up(data_dir, *modes)
    try:
        wait_for(lambda: is_complete(data_dir) or up.poll() is not None)
        assert up.poll() is None, up.stdout.read() if up.stdout else ""
        yield up
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGTERM)
        up.communicate(timeout=PATIENCE)
        end_cluster(settings_from(os.environ, data_dir))


def a_client(data_dir: Path) -> redis.Redis:
    return redis.Redis.from_url(settings_of(data_dir).log_url, socket_timeout=1.0)


def settings_of(data_dir: Path) -> Settings:
    return joined(settings_from({"XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", "")}, data_dir))


def ticks(client: redis.Redis) -> int:
    try:
        return int(client.get("ticks") or 0)  # type: ignore[arg-type]
    except redis.ConnectionError:
        return 0


def all_processes(data_dir: Path) -> list[ProcessId]:
    record = record_of(data_dir)
    return [record.supervisor, *(member.process for member in record.members if member.process)]


def test_a_program_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with running_cluster(tmp_path):
        first = process_of(tmp_path, "tick-1")
        other = process_of(tmp_path, "tick-2")
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: members_of(tmp_path)["tick-1"].process not in (first, None))
        assert members_of(tmp_path)["tick-1"].exits == 1
        assert process_of(tmp_path, "tick-2") == other


def nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_who_steps_back_does_so_for_all_of_the_cluster(tmp_path: Path) -> None:
    """Linux shares processors out by session first, so all of it is one; and each child is a group of its own."""
    with running_cluster(tmp_path) as up:
        pids = {name: process_of(tmp_path, name).pid for name in ("log", "tick-1", "stubborn")}
        wait_for(lambda: all(os.getpgid(pid) == pid for pid in pids.values()))
        assert {os.getsid(pid) for pid in pids.values()} == {os.getsid(up.pid)}
        wait_for(lambda: nice(pids["tick-1"]) == nice(up.pid) + 3)
        assert nice(pids["log"]) == nice(pids["stubborn"]) == nice(up.pid)


def test_a_killed_log_server_is_back_with_its_data_in_about_a_second(tmp_path: Path) -> None:
    """And the programs go on counting, none of them restarted."""
    with running_cluster(tmp_path), a_client(tmp_path) as client:
        wait_for(lambda: ticks(client) > 10)
        before = ticks(client)
        begun = time.monotonic()
        os.kill(process_of(tmp_path, "log").pid, signal.SIGKILL)
        wait_for(lambda: ticks(client) > before + 10)
        assert time.monotonic() - begun < 3
        wait_for(lambda: members_of(tmp_path)["log"].state == "running")
        assert members_of(tmp_path)["log"].exits == 1
        assert [members_of(tmp_path)[name].exits for name in ("tick-1", "tick-2", "queue")] == [0, 0, 0]


def test_an_aof_cut_mid_entry_is_named_with_the_position_where_the_log_ends(tmp_path: Path) -> None:
    with running_cluster(tmp_path), a_client(tmp_path) as client:
        client.hset(heads_key("chronoset"), "tail", "1700000000000-3")
        wait_for(lambda: ticks(client) > 3)
    (part,) = tmp_path.glob("log/appendonlydir/*.incr.aof")
    os.truncate(part, part.stat().st_size - 3)
    with running_cluster(tmp_path):
        note = members_of(tmp_path)["log"].note
        assert "cut at byte" in note
        assert "position 1700000000000-3" in note


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_leaves_no_process_no_socket_and_no_record(tmp_path: Path, number: int) -> None:
    with running_cluster(tmp_path) as up:
        processes, sockets = all_processes(tmp_path), settings_of(tmp_path).socket_dir
        assert {path.name for path in sockets.iterdir()} == {"log.sock", "queue.sock"}
        up.send_signal(number)
        output, _ = up.communicate(timeout=PATIENCE)
        assert (up.returncode, output) == (0, "")
    assert not any(map(is_alive, processes))
    assert not sockets.exists()
    assert read_record(tmp_path) is None


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.services.supervised", str(tmp_path)]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    up = subprocess.Popen(["nohup", *command], **quiet)  # type: ignore[call-overload]
    try:
        wait_for(lambda: is_complete(tmp_path))
        up.send_signal(signal.SIGHUP)
        os.kill(process_of(tmp_path, "tick-1").pid, signal.SIGKILL)
        wait_for(lambda: members_of(tmp_path)["tick-1"].exits == 1)
        assert up.poll() is None
    finally:
        up.terminate()
        assert up.wait(PATIENCE) == 0


def test_ctrl_c_reaches_the_supervisor_alone(tmp_path: Path) -> None:
    """The terminal signals a whole process group: the children are in none of it, so they end in order."""
    with running_cluster(tmp_path) as up:
        wait_for(lambda: members_of(tmp_path)["once"].state == "finished")
        processes = all_processes(tmp_path)
        assert len({os.getpgid(process.pid) for process in processes}) == len(processes)
        os.killpg(up.pid, signal.SIGINT)
        assert up.wait(PATIENCE) == 0


def test_nothing_survives_a_supervisor_that_is_killed_and_the_next_one_carries_on(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as up, a_client(tmp_path) as client:
        wait_for(lambda: ticks(client) > 5)
        processes = all_processes(tmp_path)
        up.kill()
        wait_for(lambda: not any(map(is_alive, processes)), 5.0)
    with running_cluster(tmp_path), a_client(tmp_path) as client:
        assert ticks(client) > 5


def test_a_second_up_on_one_data_directory_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as up:
        second = start_up(tmp_path)
        output, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert f"(pid {up.pid})" in output.splitlines()[-1]
        assert is_complete(tmp_path)


def test_a_program_that_lost_history_is_not_started_again_and_the_log_takes_no_writes(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "lost") as up, a_client(tmp_path) as client:
        wait_for(lambda: members_of(tmp_path).get("loser", members_of(tmp_path)["log"]).state == "halted")
        wait_for(lambda: client.hget(heads_key("chronoset"), "refuse") == b"all:loser found history lost")
        assert (tmp_path / "losses").read_text() == "x"
        assert "shorter than remembered" in (tmp_path / "logs" / "loser.log").read_text()
        up.terminate()
        assert up.wait(PATIENCE) == 70
    with running_cluster(tmp_path), a_client(tmp_path) as client:
        wait_for(lambda: client.hget(heads_key("chronoset"), "refuse") == b"")


def test_a_program_that_ends_with_an_error_says_why(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "refusing"):
        wait_for(lambda: members_of(tmp_path)["refuser"].exits > 0)
        note = members_of(tmp_path)["refuser"].note
        assert note.startswith("ended with 2: --api-port: 6443 is taken; see ")
        assert note.endswith("/logs/refuser.log")


def test_a_program_that_runs_once_is_left_alone_when_it_is_done(tmp_path: Path) -> None:
    with running_cluster(tmp_path):
        wait_for(lambda: members_of(tmp_path)["once"].state == "finished")
        assert (tmp_path / "once").read_text() == "x"


def test_a_program_that_is_not_ready_at_once_is_told_to_start_until_it_is(tmp_path: Path) -> None:
    """Once more after it was killed, though its predecessor had been ready."""
    with running_cluster(tmp_path, "late"):
        assert members_of(tmp_path)["late"].state == "starting"
        (tmp_path / "begin").touch()
        wait_for(lambda: members_of(tmp_path)["late"].state == "running")
        (tmp_path / "begin").unlink()
        os.kill(process_of(tmp_path, "late").pid, signal.SIGKILL)
        wait_for(lambda: members_of(tmp_path)["late"].exits == 1)
        wait_for(lambda: members_of(tmp_path)["late"].state == "starting")


def test_the_record_tells_another_terminal_all_it_needs(tmp_path: Path) -> None:
    with running_cluster(tmp_path):
        settings = settings_of(tmp_path)
        assert settings.log_url.endswith("/log.sock")
        assert settings.views_url == settings.queue_url != settings.log_url
        assert (tmp_path / "cluster.json").stat().st_mode & 0o777 == 0o600


def test_pauses_double_to_five_seconds_and_begin_anew_after_a_calm_run() -> None:
    pauses = [FIRST_PAUSE]
    while pauses[-1] < LONGEST_PAUSE:
        pauses.append(next_pause(pauses[-1], ran=0.01))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert next_pause(5.0, ran=31.0) == FIRST_PAUSE


def test_no_second_server_starts_on_an_aof_that_one_still_holds(tmp_path: Path) -> None:
    """The servers inherit the data directory's lock, so it outlives a killed supervisor until they have ended."""
    busy = "local begun = os.clock() while os.clock() - begun < 2 do end"
    with running_cluster(tmp_path) as up:
        a_client(tmp_path).connection_pool.get_connection().send_command("EVAL", busy, 0)
        up.kill()
        up.wait(PATIENCE)
        with pytest.raises(AlreadyExists, match=rf"\(pid {up.pid}\)"):
            lock_data_dir(tmp_path, 0.5)
        os.close(lock_data_dir(tmp_path, 10.0))
