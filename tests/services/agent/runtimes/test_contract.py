"""What every runtime owes the agent. Adapters join by a row in `makers.MAKERS`; REAL ones run programs."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.errors import NotFound
from schemas.objects import Object, uid_of
from services.agent.config_volumes import File
from services.agent.lifecycle import Exit, Started
from services.agent.runtimes.port import Command, LogLine, LogQuery, Refused, Run, Runtime, Session
from tests.services.agent.builders import a_container, a_pod
from tests.services.agent.fakes import eventually
from tests.services.agent.runtimes.makers import COARSE_LOGS, MAKERS, REAL, Ends, Make, parameters

pytestmark = pytest.mark.e2e

LASTING = "trap 'exit 143' TERM; while :; do sleep 0.1; done"
"""Ends on TERM also as process 1 of a container, for which the kernel ignores signals that it does not handle."""
PATIENCE = 15.0
ALL = LogQuery()


@dataclass
class Site:
    """A node's runtime on a directory of its own; `again` is what an agent sees that is started anew."""

    directory: Path
    ends: Ends
    make: Make
    kind: str
    runtime: Runtime = field(init=False)

    def __post_init__(self) -> None:
        self.runtime = self.make()

    def again(self) -> Runtime:
        self.runtime.shut_down()
        self.runtime = self.make()
        return self.runtime

    def begin(self, pod: Object, attempt: int = 0) -> Started:
        self.runtime.open(pod, "127.5.5.5", 0)
        started = self.runtime.start(Run(pod, "main", attempt))
        assert isinstance(started, Started)
        self.runtime.watch(uid_of(pod), "main")
        return started

    def end(self) -> Exit:
        return self.ends.get(timeout=PATIENCE)[2]

    def kill(self, pod: Object) -> Exit:
        self.runtime.kill(uid_of(pod), "main")
        return self.end()

    def log(self, pod: Object, query: LogQuery = ALL, attempt: int = 0) -> list[LogLine]:
        return [line for batch in self.runtime.log(uid_of(pod), "main", attempt, query) for line in batch]

    def texts(self, pod: Object, query: LogQuery = ALL, attempt: int = 0) -> list[str]:
        return [line.text.decode() for line in self.log(pod, query, attempt)]


def a_site(request: pytest.FixtureRequest, directory: Path) -> Iterator[Site]:
    ends: Ends = queue.SimpleQueue()
    with MAKERS[request.param](request, directory, ends) as make:
        site = Site(directory, ends, make, request.param)
        yield site
        for found in site.again().found():
            for run in found.runs:
                site.runtime.watch(uid_of(found.pod), run.container)
                site.runtime.kill(uid_of(found.pod), run.container)
            if any(run.exit is None for run in found.runs):
                site.end()
            site.runtime.close(uid_of(found.pod))
        site.runtime.shut_down()


@pytest.fixture(params=parameters(MAKERS))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from a_site(request, tmp_path)


@pytest.fixture(params=parameters(REAL))
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from a_site(request, tmp_path)


def a_lasting_pod(script: str = LASTING) -> Object:
    return a_pod("db-0", a_container(script=script))


def everything(session: Session) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while (part := session.read()) != ("", b""):
        found[part[0]] = found.get(part[0], b"") + part[1]
    return found


def test_opening_twice_gives_the_same_address(site: Site) -> None:
    pod = a_pod()
    first = site.runtime.open(pod, "127.5.5.5", 0).address
    assert first and first == site.runtime.open(pod, "127.6.6.6", 1).address


@pytest.mark.parametrize(("way", "code"), [("stop", 143), ("kill", 137)])
def test_a_container_that_is_ended_says_so_once(site: Site, way: str, code: int) -> None:
    pod = a_lasting_pod()
    started = site.begin(pod)
    {"stop": site.runtime.stop, "kill": site.runtime.kill}[way](uid_of(pod), "main")
    uid, container, end = site.ends.get(timeout=PATIENCE)
    assert (uid, container, end.code) == (uid_of(pod), "main", code)
    assert end.container_id == started.container_id and end.finished_at >= end.started_at
    site.runtime.stop(uid, container)
    site.runtime.kill(uid, container)
    site.runtime.close(uid)
    assert site.ends.empty()


def test_what_has_ended_before_it_is_watched_is_told_too(real: Site) -> None:
    pod = a_lasting_pod("exit 3")
    real.runtime.open(pod, "127.5.5.5", 0)
    real.runtime.start(Run(pod, "main", 0))
    marker = a_pod("marker", a_container(script="exit 4"))
    real.begin(marker)
    assert real.end().code == 4
    real.runtime.watch(uid_of(pod), "main")
    assert real.end().code == 3


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("exit 0", 0, "Completed"),
        ("exit 42", 42, "Error"),
        ("sh -c 'kill -SEGV $$$$'; exit $?", 139, "Error"),
        ("(sleep 1000 &) ; exit 5", 5, "Error"),
    ],
)
def test_exit_codes_are_the_programs(real: Site, script: str, code: int, reason: str) -> None:
    pod = a_lasting_pod(script)
    started = real.begin(pod)
    end = real.end()
    assert (end.code, end.reason, end.container_id) == (code, reason, started.container_id)
    assert started.at <= end.finished_at


def test_a_program_that_is_not_there_is_a_start_error(real: Site) -> None:
    pod = a_pod("x", a_container(command=["/nosuch/program"]))
    real.runtime.open(pod, "127.5.5.5", 0)
    end = real.runtime.start(Run(pod, "main", 0))
    assert isinstance(end, Exit) and (end.code, end.reason) == (128, "StartError")


def test_a_command_runs_only_in_what_runs(site: Site) -> None:
    pod = a_lasting_pod()
    site.begin(pod)
    assert site.runtime.execute(uid_of(pod), "main", ["true"], 5_000).code == 0
    site.kill(pod)
    with pytest.raises(Refused):
        site.runtime.execute(uid_of(pod), "main", ["true"], 5_000)


def test_a_command_that_takes_too_long_is_ended(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    with pytest.raises(TimeoutError):
        real.runtime.execute(uid_of(pod), "main", ["sleep", "1234"], 200)
    answer = real.runtime.execute(uid_of(pod), "main", ["sh", "-c", "echo $POD_NAME; exit 3"], 5_000)
    assert (answer.code, answer.output) == (3, "db-0\n")
    assert "sleep 1234" not in _command_lines()


def test_a_second_start_of_a_running_container_does_not_run_it_twice(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    with pytest.raises(Refused, match="has not ended"):
        real.runtime.start(Run(pod, "main", 1))


def test_the_agents_own_environment_is_not_handed_on(real: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHRONOSET_LOG_URL", "redis://:secret@host")
    pod = a_lasting_pod("env")
    real.begin(pod)
    real.end()
    assert "POD_NAME=db-0" in real.texts(pod) and not any("secret" in line for line in real.texts(pod))


def test_a_log_tells_streams_times_and_order_and_is_kept_for_two_runs(real: Site) -> None:
    pod = a_lasting_pod("echo one; sleep 0.05; echo two >&2; sleep 0.05; printf three; exit 1")
    for attempt in range(3):
        real.begin(pod, attempt)
        real.end()
    lines = real.log(pod, attempt=2)
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", b"one"),
        ("stderr", b"two"),
        ("stdout", b"three"),
    ]
    times = [line.at for line in lines]
    assert len(set(times)) == 3 or real.kind in COARSE_LOGS
    assert times == sorted(times) and all(len(at) == len("2026-11-23T05:38:30.146754708Z") for at in times)
    last = "twothree" if real.kind in COARSE_LOGS else "three"
    assert real.texts(pod, LogQuery(tail=1), attempt=1) == [last]
    late = [line.text.decode() for line in lines if line.at >= times[1]]
    assert real.texts(pod, LogQuery(since=times[1]), attempt=2) == late
    with pytest.raises(NotFound):
        real.log(pod, attempt=0)


def test_a_log_is_followed_to_the_end_of_its_run(real: Site) -> None:
    pod = a_lasting_pod("echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; rm /tmp/go; echo over")
    real.begin(pod)
    following = real.runtime.log(uid_of(pod), "main", 0, LogQuery(follow=True))
    assert [line.text for line in next(filter(None, following))] == [b"begun"]
    assert list(next(following)) == [], "while nothing comes an empty batch lets the reader stop"
    real.runtime.execute(uid_of(pod), "main", ["touch", "/tmp/go"], 5_000)
    assert [line.text for batch in following for line in batch] == [b"over"]


def test_a_command_has_streams_and_an_exit_code(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    words = ("sh", "-c", "cat; echo err >&2; exit 7")
    session = real.runtime.exec(Command(uid_of(pod), "main", words, stdin=True))
    session.write(b"typed\n")
    session.close_input()
    assert everything(session) == {"stdout": b"typed\n", "stderr": b"err\n"}
    assert session.wait() == 7
    session.close()
    session.close()


def test_a_command_that_is_not_there_is_refused(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    with pytest.raises(Refused, match="nosuch") as refused:
        real.runtime.exec(Command(uid_of(pod), "main", ("nosuch",)))
    assert refused.value.reason == "StartError"


def test_a_shell_has_a_terminal_of_the_size_that_is_asked_for(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    session = real.runtime.exec(Command(uid_of(pod), "main", ("sh",), tty=True, stdin=True))
    session.resize(123, 45)
    session.write(b"stty size; tty || true; exit 3\n")
    output = everything(session)
    assert b"45 123" in output["stdout"] and set(output) == {"stdout"}
    assert session.wait() == 3
    session.close()


def test_a_command_ends_with_its_session(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    session = real.runtime.exec(Command(uid_of(pod), "main", ("sh", "-c", "sleep 4321 & sleep 4322")))
    eventually(lambda: {"sleep 4321", "sleep 4322"} <= _command_lines())
    session.close()
    eventually(lambda: not {"sleep 4321", "sleep 4322"} & _command_lines())


def test_a_command_ends_with_its_container(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    session = real.runtime.exec(Command(uid_of(pod), "main", ("sleep", "1000")))
    real.kill(pod)
    assert everything(session) == {} and session.wait() != 0
    session.close()


def test_an_attached_client_sees_what_is_printed_from_then_on_and_may_type(real: Site) -> None:
    pod = a_pod("x", a_container(script="read line; echo got $line; exit 0", stdin=True))
    real.begin(pod)
    session = real.runtime.attach(uid_of(pod), "main", stdin=True)
    session.write(b"hello\n")
    assert everything(session) == {"stdout": b"got hello\n"}
    assert (session.wait(), real.end().code) == (0, 0)
    session.close()


def test_an_agent_that_begins_again_finds_what_runs_and_what_has_ended(real: Site) -> None:
    running, ended = a_lasting_pod(), a_pod("x", a_container(script="exit 6"))
    address = real.runtime.open(running, "127.5.5.5", 17).address
    started = real.begin(running)
    real.begin(ended)
    real.end()
    found = {uid_of(each.pod): each for each in real.again().found()}
    alive, over = found[uid_of(running)], found[uid_of(ended)]
    assert (alive.address, alive.accepted_at, alive.pod["spec"]) == (address, 17, running["spec"])
    assert [(run.attempt, run.started, run.exit) for run in alive.runs] == [(0, started, None)]
    assert [run.exit.code for run in over.runs if run.exit] == [6]
    real.runtime.watch(uid_of(running), "main")
    assert real.kill(running).code == 137


def test_a_pod_that_is_released_keeps_its_logs_also_for_the_agent_that_begins_again(real: Site) -> None:
    pod = a_lasting_pod("echo said; exit 6")
    real.begin(pod)
    real.end()
    real.runtime.release(uid_of(pod))
    (found,) = real.again().found()
    assert [run.exit.code for run in found.runs if run.exit] == [6]
    assert real.texts(pod) == ["said"]


def test_a_pod_that_is_closed_leaves_nothing(real: Site) -> None:
    pod = a_lasting_pod("exit 0")
    real.begin(pod)
    real.end()
    real.runtime.close(uid_of(pod))
    assert real.again().found() == [] and list((real.directory / "n1" / "pods").iterdir()) == []


def test_volumes_are_shared_by_the_containers_of_a_pod_and_configurations_change_under_them(
    real: Site,
) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}, {"name": "config", "mountPath": "/config"}]
    writer = a_container("first", "echo written > $VOLUME_SHARED/file", volumeMounts=mounts)
    main = a_container(volumeMounts=mounts, script=LASTING)
    volumes = [{"name": "shared", "emptyDir": {}}, {"name": "config", "configMap": {"name": "config"}}]
    pod = a_pod("db-0", main, initContainers=[writer], volumes=volumes)
    real.runtime.open(pod, "127.5.5.5", 0)
    real.runtime.write_volume(uid_of(pod), "config", {"a": File(b"1", 0o644)})
    real.runtime.start(Run(pod, "first", 0))
    real.runtime.watch(uid_of(pod), "first")
    assert real.end().code == 0
    real.begin(pod)
    words = ["sh", "-c", "cat $VOLUME_SHARED/file $VOLUME_CONFIG/a"]
    assert real.runtime.execute(uid_of(pod), "main", words, 5_000).output == "written\n1"
    real.runtime.write_volume(uid_of(pod), "config", {"a": File(b"2", 0o644)})
    assert real.runtime.execute(uid_of(pod), "main", words, 5_000).output == "written\n2"
    assert any(place.endswith("/volumes/shared") for place in real.runtime.mounted())


def test_a_claims_directory_is_where_the_pod_wants_it(real: Site, tmp_path: Path) -> None:
    claim = tmp_path / "claim"
    claim.mkdir()
    mount = {"name": "data", "mountPath": "/data", "subPath": "below"}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    script = "echo $POD_NAME > $VOLUME_DATA/who"
    pod = a_pod("db-0", a_container(script=script, volumeMounts=[mount]), volumes=volumes)
    real.runtime.open(pod, "127.5.5.5", 0)
    real.runtime.start(Run(pod, "main", 0, {"data-db-0": str(claim)}))
    real.runtime.watch(uid_of(pod), "main")
    assert real.end().code == 0
    assert (claim / "below" / "who").read_text() == "db-0\n"


def test_a_pods_hosts_file_is_known_to_its_programs(real: Site) -> None:
    pod = a_lasting_pod()
    real.begin(pod)
    real.runtime.write_hosts(uid_of(pod), "127.0.0.1 localhost\n10.9.8.7 db-1.db\n")
    words = ["sh", "-c", "cat $CHRONOSET_HOSTS"]
    assert "10.9.8.7 db-1.db" in real.runtime.execute(uid_of(pod), "main", words, 5_000).output


def _command_lines() -> set[str]:
    lines = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.add(path.read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines
