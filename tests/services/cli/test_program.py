"""The program itself: help, exit codes, no cluster, closed pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import main
from services.cli.program import COMMANDS

ROOT = Path(__file__).parents[3]
EVERY_COMMAND = [[name] for name in COMMANDS if name != "rollout"] + [
    ["rollout", name] for name in ("undo", "restart", "status", "history")
]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("CHRONOSET_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example:" in out and f"chronoset {' '.join(command)}" in out.partition("Example:")[2]


def test_help_lists_every_command_without_importing_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(
    "command", [["get", "sts"], ["scale", "sts/db", "--replicas", "1"], ["env"], ["log"]]
)
def test_without_a_cluster_the_way_to_one_is_named(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "error: no cluster runs in ./.chronoset; start one with chronoset up, or set CHRONOSET_LOG_URL\n"
    )


def test_the_data_directory_may_be_named_before_or_after_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["--data-dir", "/x", "env"], ["env", "--data-dir", "/x"]):
        assert main(arguments) == 2
        assert "no cluster runs in /x;" in capsys.readouterr().err


def test_a_server_that_is_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("services.cli.session.PATIENCE", 0.05)
    monkeypatch.setenv("CHRONOSET_LOG_URL", "unix:///tmp/no-such-socket")
    monkeypatch.setenv("CHRONOSET_QUEUE_URL", "redis://user:hunter2@127.0.0.1:1/0")
    assert main(["log"]) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: the log's server cannot be reached") and err.count("\n") == 1
    assert "hunter2" not in err


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 141
    assert err == b""


def test_what_a_terminal_has_no_letter_for_is_a_question_mark() -> None:
    code = "import sys; from services.cli import program; print(program.main(['--help']), '\u2192')"
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, env=environ, check=True
    )
    assert done.stdout.endswith(b"0 ?\n")


def test_the_version_is_that_of_the_package_and_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("chronoset ") and said.endswith("; log format 1\n")


def test_a_mistyped_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aplly", "-f", "x"]) == 2
    assert "Did you mean 'apply'?" in capsys.readouterr().err


def test_a_group_lists_its_commands_with_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ("rollout", "node", "archive", "projections", "retention"):
        assert main([group, "--help"]) == 0
        listed = capsys.readouterr().out.partition("Commands:")[2]
        assert listed.strip() and "..." not in listed


def test_what_scale_imports_is_what_scale_needs() -> None:
    """Start-up is most of its 400 ms: no schemas, no YAML, no rich, no dramatiq, no cryptography, no pydantic.

    Over the API it does not even speak to Redis.
    """
    code = "import sys, services.cli.writes, services.cli.executors; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "yaml",
        "rich",
        "dramatiq",
        "jsonschema_rs",
        "cryptography.hazmat",
        "structlog",
        "pydantic",
        "psutil",
        "redis",
        "httpx",
    }
    assert not heavy & set(done.stdout.split())
