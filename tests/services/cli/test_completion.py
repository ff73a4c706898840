"""Completion: scripts that shells accept, and what they are offered on Tab; never a word of complaint."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.cli import main
from services.cli.program import COMMANDS, COMPLETE
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB

ROOT = Path(__file__).parents[3]


def offered(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return what bash is offered for the last of the words, which may be empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(COMPLETE, "complete_bash")
        patch.setenv("COMP_WORDS", " ".join(["chronoset", *words]))
        patch.setenv("COMP_CWORD", str(len(words)))
        capsys.readouterr()
        assert main([]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert COMPLETE in script.read_text()
    if binary := shutil.which(shell):
        subprocess.run([binary, "-n", str(script)], check=True)


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """The real thing: the script sourced, the function called as Tab does."""
    program = tmp_path / "chronoset"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli "$@"\n')
    program.chmod(0o755)
    script = "source <(chronoset completion bash); COMP_WORDS=(chronoset resu); COMP_CWORD=1; "
    script += '_chronoset_completion chronoset; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("resume\n", "")


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err


def test_commands_options_and_kinds_need_no_cluster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered(capsys, "re") == ["read-only", "resume", "replay", "retention", "restore"]
    assert set(offered(capsys, "")) >= set(COMMANDS)
    assert offered(capsys, "get", "--sel") == ["--selector"]
    assert offered(capsys, "get", "st") == ["sts", "statefulsets", "storageclasses"]
    assert offered(capsys, "get", "sts,pod") == ["sts,pods", "sts,poddisruptionbudgets"]
    assert offered(capsys, "rollout", "u") == ["undo"]
    assert offered(capsys, "get", "pods", "-o", "j") == ["json"]
    assert offered(capsys, "get", "sts", "") == []
    assert offered(capsys, "logs", "") == []
    assert offered(capsys, "get", "pot", "") == []


def test_names_are_those_that_the_projections_have(
    chronoset: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    chronoset("apply", "-f", "-", stdin=DB)
    labelled = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}}"
    chronoset("apply", "-f", "-", stdin=labelled % b"apple")
    end = chronoset("apply", "-f", "-", "-n", "kube-public", "-o", "json", stdin=labelled % b"pear")
    chronoset("get", "cm", "--at-least", end.json["position"])
    assert offered(capsys, "scale", "sts", "") == ["db"]
    assert offered(capsys, "describe", "sts/") == ["sts/db"]
    assert offered(capsys, "get", "sts", "db", "") == []
    assert offered(capsys, "get", "cm", "") == ["apple"]
    assert offered(capsys, "get", "-n", "kube-public", "cm", "p") == ["pear"]
    assert offered(capsys, "get", "cm", "-n", "kube-p") == ["kube-public"]
    assert offered(capsys, "get", "cm", "-A", "") == ["apple", "pear"]


@pytest.mark.parametrize("name", ["CHRONOSET_VIEWS_URL", "CHRONOSET_QUEUE_URL"])
def test_a_server_that_hangs_or_hangs_up_offers_nothing_soon(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        monkeypatch.setenv("CHRONOSET_LOG_URL", "unix:///nowhere")
        monkeypatch.setenv("CHRONOSET_QUEUE_URL", "unix:///elsewhere")
        monkeypatch.setenv(name, f"unix://{tmp_path / 's'}")
        began = time.monotonic()
        assert offered(capsys, "get", "sts", "") == []
        assert time.monotonic() - began < 5


def test_what_completes_imports_no_client_of_redis() -> None:
    """It is most of what a command's start costs, and somebody is typing."""
    code = "import sys, services.cli.reads, services.cli.completions; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"redis", "rich", "yaml", "dramatiq", "asyncio"} & set(done.stdout.split())


def test_replay_offers_its_questions_and_what_the_first_of_them_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered(capsys, "replay", "w") == ["why"]
    assert offered(capsys, "replay", "stat") == ["statefulsets"]
    assert offered(capsys, "replay", "--fol") == ["--follow"]
    assert offered(capsys, "replay", "history", "--fi") == ["--field"]
    assert offered(capsys, "replay", "--at", "now", "st") == ["sts", "statefulsets", "storageclasses"]
