"""What a node says of itself."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from services.agent.nodes import NodeSettings, node_object
from tests.services.agent.builders import NOW


def _os_image() -> str:
    said: str = node_object(NodeSettings("n1", Path("/tmp")), "process", NOW)["status"]["nodeInfo"]["osImage"]
    return said


def test_a_machine_is_called_what_its_system_calls_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"NAME": "Debian", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: known)
    assert _os_image() == "Debian GNU/Linux 12 (bookworm)"


def test_a_machine_that_does_not_say_runs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_missing() -> dict[str, str]:
        raise FileNotFoundError

    monkeypatch.setattr(platform, "freedesktop_os_release", is_missing)
    assert _os_image() == "Linux"
