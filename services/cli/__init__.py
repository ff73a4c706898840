"""The command line: `chronoset apply | get | replay ...`. Each command is imported only when it is called."""

from __future__ import annotations

from services.cli.program import main

__all__ = ["main"]
