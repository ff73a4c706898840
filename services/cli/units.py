"""The systemd unit that runs a machine's agent (systemd.service, systemd.exec; Quoting in systemd.syntax)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_UNIT = """[Unit]
Description=Chronoset agent of node {node}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
{environment}ExecStart={command}
Restart=always
RestartSec=2
KillMode=process
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
"""
"""KillMode=process: pods run on while their agent is started again; and it is, however often it fails."""
KEPT = (
    "CHRONOSET_IMAGE_DIR",
    "CHRONOSET_NETWORK_AGENT",
    "CHRONOSET_POD_PIDS",
    "CHRONOSET_HEALTH_FILE",
    "DOCKER_HOST",
)
"""The variables by which an agent goes, which a unit has to say itself."""
_is_plain = re.compile(r"[-A-Za-z0-9_./:=@+,]+").fullmatch


def agent_unit(node: str, command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the unit of a node's agent. Of the environment it has what an agent goes by."""
    known = [f"{name}={environ[name]}" for name in KEPT if environ.get(name)]
    lines = [f"Environment={_quoted(each)}\n" for each in known]
    words = [_quoted(word).replace("$", "$$") for word in command]
    return _UNIT.format(node=node, environment="".join(lines), command=" ".join(words))


def _quoted(word: str) -> str:
    """Return a word as a unit has it: in quotes where it needs them, with the marks of specifiers doubled."""
    if _is_plain(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'.replace("%", "%%")
