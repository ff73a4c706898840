"""Settings from the environment and from a running cluster."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import BadRequest, NotFound, Unavailable
from services.clusters import (
    ClusterRecord,
    Member,
    read_record,
    remember_cluster,
    remove_record,
    write_record,
)
from services.connections import connect
from services.processes import ProcessId, process_id_of
from services.settings import (
    Durability,
    exports,
    has_password,
    joined,
    redacted,
    settings_from,
    shown_path,
    socket_of,
    url_of_socket,
)


def a_record(**changes: object) -> ClusterRecord:
    me = process_id_of(os.getpid())
    assert me is not None
    base = ClusterRecord(
        cluster="blue",
        supervisor=me,
        log_url="unix:///run/log.sock",
        queue_url="unix:///run/queue.sock",
        views_url="unix:///run/queue.sock",
        durability="everysec",
        node_names=("node-1", "node-2"),
        members=(
            Member("log", "running", me, 1_700_000_000_000),
            Member("worker", "waiting", None, 5, 2, "ended with 1"),
        ),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = settings_from({})
    assert settings.cluster == "chronoset"
    assert settings.data_dir == Path(".chronoset")
    assert settings.durability is Durability.ALWAYS
    assert settings.keys_dir == Path(".chronoset/keys")
    assert settings.image_dir == Path(".chronoset/images")
    assert (settings.log_url, settings.queue_url, settings.views_url) == ("", "", "")


def test_each_variable_is_read_and_an_empty_one_counts_as_unset() -> None:
    settings = settings_from(
        {
            "CHRONOSET_LOG_URL": "rediss://user:secret@log.example:6380/0",
            "CHRONOSET_QUEUE_URL": "redis://queue.example/1",
            "CHRONOSET_VIEWS_URL": "",
            "CHRONOSET_CLUSTER": "blue-7",
            "CHRONOSET_DATA_DIR": "/data",
            "CHRONOSET_DURABILITY": "everysec",
            "CHRONOSET_KEYS_DIR": "/keys",
        }
    )
    assert settings.log_url == "rediss://user:secret@log.example:6380/0"
    assert settings.views_url == "redis://queue.example/1"
    assert (settings.cluster, settings.durability) == ("blue-7", Durability.EVERYSEC)
    assert (settings.keys_dir, settings.image_dir) == (Path("/keys"), Path("/data/images"))
    assert "secret" not in repr(settings)


def test_a_data_directory_remembers_its_cluster_and_the_variable_wins(tmp_path: Path) -> None:
    assert settings_from({}, tmp_path).cluster == "chronoset"
    remember_cluster(tmp_path, "blue")
    assert settings_from({}, tmp_path).cluster == "blue"
    assert settings_from({"CHRONOSET_CLUSTER": "green"}, tmp_path).cluster == "green"


def test_an_argument_wins_over_its_variable() -> None:
    settings = settings_from({"CHRONOSET_DATA_DIR": "/data"}, Path("/other"))
    assert (settings.data_dir, settings.keys_dir) == (Path("/other"), Path("/other/keys"))


@pytest.mark.parametrize("name", ["Blue", "-a", "a-", "a.b", "a_b", "x" * 64, "{a}", "a\n", "é", " "])
def test_a_cluster_name_that_is_no_dns_label_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"CHRONOSET_CLUSTER: .* is no DNS label: 1 to 63"):
        settings_from({"CHRONOSET_CLUSTER": name})


@pytest.mark.parametrize("name", ["a", "0", "a-b", "x" * 63])
def test_a_dns_label_is_taken(name: str) -> None:
    assert settings_from({"CHRONOSET_CLUSTER": name}).cluster == name


def test_an_unknown_durability_is_refused_with_what_would_be_accepted() -> None:
    with pytest.raises(
        BadRequest, match="CHRONOSET_DURABILITY: 'never' is not known: write always or everysec"
    ):
        settings_from({"CHRONOSET_DURABILITY": "never"})


@pytest.mark.parametrize(
    "url",
    ["localhost:6379", "http://host", "redis://", "unix://", "redis://:hush@", "redis://h:99999", "redis://h:x/0",
     "redis://[::1", "secret://user:hush@host", "nonsense?password=hush"],
)  # fmt: skip
def test_a_url_that_is_no_server_is_refused_and_no_password_in_it_is_printed(url: str) -> None:
    with pytest.raises(BadRequest, match=r"CHRONOSET_LOG_URL: .* is no server: write redis://") as refusal:
        settings_from({"CHRONOSET_LOG_URL": url})
    assert "hush" not in str(refusal.value)


def test_log_and_queue_are_never_one_key_space() -> None:
    with pytest.raises(BadRequest, match=r"CHRONOSET_QUEUE_URL: 'redis://:\*\*\*@h' is the log's"):
        settings_from({"CHRONOSET_LOG_URL": "redis://:hush@h", "CHRONOSET_QUEUE_URL": "redis://:hush@h"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:hush@host:6379/0", "redis://:***@host:6379/0"),
        (
            "rediss://user:hu%40sh@[::1]:6380/0?ssl_cert_reqs=none",
            "rediss://user:***@[::1]:6380/0?ssl_cert_reqs=none",
        ),
        ("redis://user:h@u@host/0", "redis://user:***@host/0"),
        ("redis://user@host/0", "redis://user@host/0"),
        ("unix:///tmp/a%20b.sock?password=hush&db=1", "unix:///tmp/a%20b.sock?password=***&db=1"),
        ("rediss://host?ssl_password=hush", "rediss://host?ssl_password=***"),
        ("redis://:@host", "redis://:***@host"),
    ],
)
def test_a_url_is_printed_without_its_passwords(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert has_password(url) == ("***" in shown)


def test_a_socket_and_its_url_are_each_others_inverse() -> None:
    assert socket_of(url_of_socket(Path("/tmp/a b%/log.sock"))) == "/tmp/a b%/log.sock"
    assert socket_of("redis://host/0") == ""


def test_without_a_cluster_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as refusal:
        joined(settings_from({}))
    assert str(refusal.value) == (
        "no cluster runs in ./.chronoset; start one with chronoset up, or set CHRONOSET_LOG_URL"
    )
    assert refusal.value.exit_code == 2


def test_the_cluster_in_the_data_directory_is_joined(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    settings = joined(settings_from({}, tmp_path))
    assert (settings.cluster, settings.durability) == ("blue", Durability.EVERYSEC)
    assert (settings.log_url, settings.queue_url) == ("unix:///run/log.sock", "unix:///run/queue.sock")
    assert settings.node_names == ("node-1", "node-2")


def test_urls_that_are_given_are_used_whatever_runs_in_the_data_directory(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    given = {"CHRONOSET_LOG_URL": "redis://log", "CHRONOSET_QUEUE_URL": "redis://queue"}
    assert joined(settings_from(given, tmp_path)) == settings_from(given, tmp_path)


def test_a_log_without_a_queue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="CHRONOSET_QUEUE_URL: is not set"):
        joined(settings_from({"CHRONOSET_LOG_URL": "redis://log"}, tmp_path))


def test_a_record_of_a_cluster_that_has_ended_is_no_cluster(tmp_path: Path) -> None:
    """Even where its supervisor's pid belongs to another process by now."""
    write_record(tmp_path, a_record(supervisor=ProcessId(os.getpid(), 1)))
    with pytest.raises(NotFound, match="no cluster runs in"):
        joined(settings_from({}, tmp_path))


def test_a_cluster_that_is_still_starting_is_not_joined(tmp_path: Path) -> None:
    write_record(tmp_path, a_record(ready=False))
    with pytest.raises(Unavailable, match="is still starting"):
        joined(settings_from({}, tmp_path))


def test_a_url_that_the_record_keeps_to_itself_must_be_given(tmp_path: Path) -> None:
    write_record(tmp_path, a_record(queue_url=""))
    with pytest.raises(BadRequest, match="CHRONOSET_QUEUE_URL: is not set, and the cluster"):
        joined(settings_from({}, tmp_path))
    given = settings_from({"CHRONOSET_QUEUE_URL": "redis://:hush@queue"}, tmp_path)
    assert joined(given).queue_url == "redis://:hush@queue"


def test_exports_let_another_process_join_and_never_hold_a_password(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    variables = exports(joined(settings_from({}, tmp_path)))
    assert variables["CHRONOSET_LOG_SOCKET"] == "/run/log.sock"
    assert settings_from(variables).cluster == "blue"
    hidden = exports(settings_from({"CHRONOSET_LOG_URL": "redis://:hush@log"}, tmp_path))
    assert "CHRONOSET_LOG_URL" not in hidden
    assert "hush" not in str(hidden)


def test_a_record_is_read_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    assert read_record(tmp_path) == a_record()
    assert (tmp_path / "cluster.json").stat().st_mode & 0o777 == 0o600
    remove_record(tmp_path)
    remove_record(tmp_path)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"members": []}', '{"members": 3}', "\xff"])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text, encoding="latin-1")
    assert read_record(tmp_path) is None


def test_paths_are_shown_as_people_write_them() -> None:
    assert shown_path(Path(".chronoset")) == "./.chronoset"
    assert shown_path(Path("../x")) == "../x"
    assert shown_path(Path("/data")) == "/data"


def test_a_grace_period_of_nodes_is_whole_seconds() -> None:
    assert settings_from({"CHRONOSET_NODE_GRACE": "7"}).node_grace == 7_000
    assert settings_from({}).node_grace == 40_000


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "40s", "86401", "x" * 100, "\u0664"])
def test_a_grace_period_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"CHRONOSET_NODE_GRACE: .* write whole seconds, 1 to 86400"):
        settings_from({"CHRONOSET_NODE_GRACE": text})


def test_as_many_finished_pods_are_kept_as_is_said() -> None:
    assert settings_from({"CHRONOSET_FINISHED_PODS": "0"}).finished_pods == 0


def test_the_processes_of_a_pod_may_be_limited() -> None:
    assert settings_from({}).pod_pids is None
    assert settings_from({"CHRONOSET_POD_PIDS": "200"}).pod_pids == 200
    for text in ("0", "-1", "many"):
        with pytest.raises(BadRequest, match=r"CHRONOSET_POD_PIDS: .* write a whole number from 1"):
            settings_from({"CHRONOSET_POD_PIDS": text})
    assert settings_from({}).finished_pods == 12_500


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "1000001", "x" * 100, "\u0664"])
def test_a_number_of_finished_pods_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"CHRONOSET_FINISHED_PODS: .* write a whole number from 0"):
        settings_from({"CHRONOSET_FINISHED_PODS": text})


def test_nodes_wait_for_a_network_agent_only_where_that_is_asked_for() -> None:
    assert not settings_from({}).network_agent
    assert not settings_from({"CHRONOSET_NETWORK_AGENT": "0"}).network_agent
    assert settings_from({"CHRONOSET_NETWORK_AGENT": "1"}).network_agent


def test_a_network_agent_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"CHRONOSET_NETWORK_AGENT: 'maybe' .* write 1 or 0"):
        settings_from({"CHRONOSET_NETWORK_AGENT": "maybe"})


def test_a_password_of_any_characters_may_be_told_apart_from_its_url():
    told = {"CHRONOSET_LOG_URL": "redis://log:6379/0", "CHRONOSET_LOG_PASSWORD": "p@ss/w:rd#1%"}
    settings = settings_from(told)
    assert connect(settings.log_url, "test").connection_pool.connection_kwargs["password"] == "p@ss/w:rd#1%"
    assert (redacted(settings.log_url), has_password(settings.log_url)) == ("redis://:***@log:6379/0", True)
    named = settings_from({**told, "CHRONOSET_LOG_URL": "rediss://me@log:6379/0"})
    assert redacted(named.log_url) == "rediss://me:***@log:6379/0"


def test_a_password_in_a_url_wins_over_one_beside_it():
    told = {"CHRONOSET_LOG_URL": "redis://:a@log:6379/0", "CHRONOSET_LOG_PASSWORD": "b"}
    assert settings_from(told).log_url == told["CHRONOSET_LOG_URL"]


def test_when_what_is_sealed_may_be_said() -> None:
    given = {"SEAL_EVENTS": "100", "SEAL_MINUTES": "2", "STREAM_EVENTS": "0", "ARCHIVE": "s3://bucket/x"}
    found = settings_from({f"CHRONOSET_{name}": value for name, value in given.items()})
    assert (found.seal_events, found.seal_age, found.stream_events) == (100, 120_000, 0)
    assert found.archive == "s3://bucket/x" and settings_from({}).archive == ""


@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        ("SEAL_EVENTS", "99", "from 100 to 9000"),
        ("SEAL_EVENTS", "9001", "from 100 to 9000"),
        ("SEAL_MINUTES", "0", "from 1 to 43200"),
        ("STREAM_EVENTS", "-1", "from 0 to 1000000000"),
        ("STREAM_EVENTS", "many", "from 0 to 1000000000"),
    ],
)
def test_limits_of_sealing_that_are_none_are_refused(name: str, text: str, accepted: str) -> None:
    with pytest.raises(BadRequest, match=f"CHRONOSET_{name}: '{text}' is not accepted: .* {accepted}"):
        settings_from({f"CHRONOSET_{name}": text})
