"""`chronoset completion`: the script that has a shell complete what is typed after `chronoset`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from services.cli.program import COMPLETE, PROGRAM


class Shell(StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish")]) -> None:
    """Print the script by which a shell completes commands, options, kinds and the names of objects.

    \b
    Example:
      source <(chronoset completion bash)
      chronoset completion bash >> ~/.bashrc
      chronoset completion zsh >> ~/.zshrc
      chronoset completion fish > ~/.config/fish/completions/chronoset.fish
    """
    print(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE, shell=shell.value))
