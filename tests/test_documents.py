"""What the documents point at is there: files, headings, and the commands of the command line with their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from services.cli.program import COMMANDS, load

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def links_of(document: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors_of(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def calls_in(document: Path) -> list[list[str]]:
    """Return the words of each call of `chronoset` in a code block or between backticks."""
    found = re.findall(
        r"(?:^ +(?:\$ )?|`|\$\()chronoset ([^`\n]+?)(?:`|\)\"|$)", document.read_text(), re.MULTILINE
    )
    return [shlex.split(call, comments=True) for call in found]


def options_of(words: list[str]) -> set[str]:
    """Return the options of the command that is called, or of the one below it: `rollout undo`, `replay` its first."""
    command = load(words[0])
    below = getattr(command, "commands", {})
    if below and len(words) > 1:
        command = below.get(words[1]) or below[getattr(command, "default", words[1])]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links_of(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_call_names_a_command_and_options_that_exist(document: Path) -> None:
    for words in calls_in(document):
        assert words[0] in COMMANDS, words
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options_of(words), words


def test_calls_are_found_in_the_readme() -> None:
    called = {words[0] for words in calls_in(ROOT / "README.md")}
    assert called >= {"patch", "get", "scale", "rollout", "replay", "logs", "doctor", "env", "down"}
