"""Objects as text in every format, and a pager for what is long."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from schemas.columns import spoken_name
from schemas.kinds import Kind
from schemas.objects import Object, name_of, namespace_of
from schemas.positions import Position, stream_id_of
from services.cli.columns import Layout, Setting, table_of
from services.cli.options import ReadOutput

_is_ambiguous = re.compile(r"[-+.0-9][-+.0-9_a-fA-FxXoO:]*|[yYnN]", re.ASCII).fullmatch
"""Strings that YAML 1.1 readers may take for numbers or booleans, and that PyYAML would write bare."""

Listing = Sequence[tuple[Kind, Sequence[Object]]]


def show(text: str) -> None:
    """Print text; on a terminal that it does not fit, through a pager."""
    if not text:
        return
    if sys.stdout.isatty() and text.count("\n") + 2 > shutil.get_terminal_size().lines and _page(text):
        return
    print(text)


def listing_text(listing: Listing, output: ReadOutput, setting: Setting, layout: Layout) -> str:
    """Return objects, grouped by kind, in a format; tables leave out the kinds of which there are none."""
    match output:
        case ReadOutput.NAME:
            return "\n".join(
                spoken_name(kind, name_of(obj)) for kind, objects in listing for obj in _sorted(objects)
            )
        case ReadOutput.JSON | ReadOutput.YAML:
            items = [obj for _, objects in listing for obj in _sorted(objects)]
            return _document({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}, output)
    return "\n\n".join(table_of(kind, objects, setting, layout) for kind, objects in listing if objects)


def object_text(obj: Object, output: ReadOutput) -> str:
    """Return one object as JSON or YAML."""
    return _document(obj, output)


def position_line(position: Position) -> str:
    """Return the line that says up to where what is shown is."""
    return f"as of position {stream_id_of(position)}"


def yaml_text(value: Any) -> str:
    """Return a JSON value as YAML that reads back the same under YAML 1.1 and 1.2."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def represent(dumper: Any, text: str) -> Any:
        style = '"' if _is_ambiguous(text) else "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    text: str = yaml.dump(value, Dumper=Dumper, default_flow_style=False, allow_unicode=True, width=2**20)
    return text.rstrip("\n")


def _sorted(objects: Iterable[Object]) -> list[Object]:
    return sorted(objects, key=lambda obj: (namespace_of(obj), name_of(obj)))


def _document(value: Any, output: ReadOutput) -> str:
    if output is ReadOutput.YAML:
        return yaml_text(value)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _page(text: str) -> bool:
    """Show text in $PAGER, or less; say whether that was possible."""
    words = shlex.split(os.environ.get("PAGER") or "less -FRX")
    if not words or shutil.which(words[0]) is None:
        return False
    subprocess.run(words, input=text.encode(), check=False)
    return True
