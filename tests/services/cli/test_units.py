"""The systemd unit of an agent: systemd takes it, and what it starts is the agent."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from services.cli import main
from services.cli.units import agent_unit
from services.joining import Membership, write_membership
from tests.e2e.clusters import SOURCES, wait_for

ODD = '/srv/a "b" 100%/$HOME\\x'


def read(unit: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    return parser


def words_of(line: str) -> list[str]:
    """Return the words of an ExecStart as systemd reads them."""
    words, word, is_quoted, rest = [], "", False, iter(line)
    for mark in rest:
        if mark == "\\":
            word += next(rest)
        elif mark == '"':
            is_quoted = not is_quoted
        elif mark == " " and not is_quoted:
            words.append(word)
            word = ""
        elif mark in "%$":
            assert next(rest) == mark, f"{mark} alone would be expanded"
            word += mark
        else:
            word += mark
    return [*words, word]


@pytest.mark.parametrize(
    ("command", "environ"),
    [
        (["/opt/bin/python", "-m", "services.cli"], {}),
        ([sys.executable, "--data-dir", ODD], {"CHRONOSET_IMAGE_DIR": ODD, "CHRONOSET_LOG_PASSWORD": "x"}),
    ],
)
def test_the_words_of_a_unit_are_those_that_were_given(
    command: Sequence[str], environ: Mapping[str, str]
) -> None:
    service = read(agent_unit("n4", command, environ))["Service"]
    assert words_of(service["ExecStart"]) == command
    said = service.get("Environment", "")
    assert ("CHRONOSET_IMAGE_DIR" in environ) == said.startswith('"CHRONOSET_IMAGE_DIR=')
    assert "PASSWORD" not in agent_unit("n4", command, environ)


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """A data directory that has joined a cluster which does not answer."""
    write_membership(tmp_path, Membership("http://127.0.0.1:9", "", "n4", "T", "127.0.0.1", 40.0, "i"))
    return tmp_path


def printed(joined: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["agent", "join", "--print-systemd-unit", "--data-dir", str(joined), *more]) == 0
    return capsys.readouterr().out


def test_systemd_finds_nothing_wrong_with_it(
    joined: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("THE UNIT IS NOT VERIFIED: there is no systemd-analyze")
    monkeypatch.setenv("CHRONOSET_IMAGE_DIR", ODD)
    file = joined / "chronoset-agent.service"
    file.write_text(printed(joined, capsys, "--runtime", "docker"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, ours) == (0, [])


def test_it_starts_the_agent_of_this_node_as_it_was_asked_for(
    joined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = read(printed(joined, capsys))
    assert unit["Unit"]["Description"] == "Chronoset agent of node n4"
    assert "--runtime docker" in printed(joined, capsys, "--runtime", "docker")
    log = joined / "log"
    with log.open("wb") as file:
        agent = subprocess.Popen(
            words_of(unit["Service"]["ExecStart"]),
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            stdout=file,
        )
    try:
        wait_for(lambda: "going on with what it said before" in log.read_text(), "the agent to go on", 30)
        wait_for((joined / "nodes" / "n4" / "lock").exists, "the node to be its own", 30)
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
