"""How the demo tells what it observed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.demo.stages import Stage, WrongObservation


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def stage(output: io.StringIO) -> Stage:
    return Stage(Console(file=output, highlight=False, width=120))


def test_what_was_found_is_printed(stage: Stage, output: io.StringIO):
    stage.check("versions", {"db-0": "5.7.2", "db-1": "5.7.2"}, {"db-0": "5.7.2", "db-1": "5.7.2"})
    assert output.getvalue() == "   ✓ versions: db-0 5.7.2, db-1 5.7.2\n"


def test_a_wrong_observation_ends_the_step_and_prints_both(stage: Stage, output: io.StringIO):
    said = "order: expected db-0, db-1; found db-1, db-0"
    with pytest.raises(WrongObservation, match=said) as caught, stage.step(1, "A start"):
        stage.check("order", ["db-1", "db-0"], ["db-0", "db-1"], shown="as it should be")
    assert caught.value.exit_code == 1
    assert output.getvalue().splitlines()[2:] == [
        "   ✗ order",
        "     expected: db-0, db-1",
        "     found:    db-1, db-0",
    ]


def test_the_summary_has_every_step_played_or_not(stage: Stage, output: io.StringIO):
    with stage.step(1, "first"):
        stage.check("one", 1, 1)
    with pytest.raises(WrongObservation), stage.step(2, "second"):
        stage.check("two", 1, 2)
    stage.summary(["first", "second", "third"], 1.25)
    rows = [line.split() for line in output.getvalue().splitlines()[-5:]]
    assert [row[:3] for row in rows[:3]] == [
        ["1", "first", "ok"],
        ["2", "second", "wrong"],
        ["3", "third", "not"],
    ]
    assert output.getvalue().endswith("1 of 3 steps as expected, 2 observations, 1.2 s\n")


def test_a_step_that_is_interrupted_is_neither_right_nor_wrong(stage: Stage):
    with pytest.raises(KeyboardInterrupt), stage.step(1, "first"):
        raise KeyboardInterrupt
    assert [played.result for played in stage.played] == ["stopped"]


def test_square_brackets_are_printed_as_they_are(stage: Stage, output: io.StringIO):
    stage.command("""patch sts db -p '[{"op":"replace"}]'""", "kubectl [red]")
    assert """'[{"op":"replace"}]'""" in output.getvalue() and "[red]" in output.getvalue()


def test_long_output_is_shortened_and_says_so(stage: Stage, output: io.StringIO):
    stage.output("\n".join(map(str, range(100))))
    assert output.getvalue().splitlines()[-1] == "     ... and 86 lines more"
