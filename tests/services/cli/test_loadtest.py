"""What `chronoset loadtest` refuses, before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.program import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "fast"], "--profile: 'fast' is unknown; write a .yaml file, or one of churn, default"),
        (["--workers", "0"], "--workers: '0': write numbers from 1 to 64, as 1,2,4"),
        (["--workers", "two"], "--workers: 'two'"),
        (["--nodes", "9999"], "--nodes: 9999 is out of range; write a number from 1 to 5000"),
        (["--sets", "1000", "--replicas", "1000"], "pods are too many"),
        (["--kill-workers", "9"], "--kill-workers: 9: write a number from 0 to 5"),
        (["--kill-workers", "-1"], "--kill-workers: -1: write a number from 0 to 5"),
        (["--nodes-over-api"], "--nodes-over-api: is for --table kubernetes only"),
        (["--table", "nomad"], "'nomad' is not one of 'kubernetes'"),
        (["--html", "/nowhere/at/all.html"], "--html: /nowhere/at/all.html cannot be written: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["loadtest", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
