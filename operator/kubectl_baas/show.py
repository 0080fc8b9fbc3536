"""What reaches the terminal: trees, data, errors.

rich decides about colour (a terminal, NO_COLOR, FORCE_COLOR) and draws trees in ASCII where the encoding is not UTF-8.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from kubectl_baas.errors import ERROR, PluginError
from kubectl_baas.tree import Node, Style

_COLOURS: dict[Style, str] = {
    "plain": "", "name": "bold", "dim": "dim", "good": "green", "warn": "yellow", "bad": "bold red",
}  # fmt: skip
_GUIDES = "dim"
_WIDE = 10_000
"""Width where there is no terminal: lines are never broken for a program that reads them."""


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error, as it is right now."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # A message may hold what an old terminal's encoding has no letter for: a question mark is better than a crash.
        stream.reconfigure(errors="replace")
    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE)


def printable(value: object, style: str = "", *, keep: str = "") -> Text:
    """What is printed, without what a terminal would obey: messages of the cluster carry what others wrote, and rich lets escapes pass.
    Of what is not printable, the letters in `keep` stay; colours are for `style` to say."""
    plain = "".join(each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in str(value))
    return Text(plain, style)


def print_trees(trees: list[Node], on: Console) -> None:
    """Print trees under each other."""
    for index, each in enumerate(trees):
        if index:
            on.print()
        on.print(_rich(each))


def _rich(node: Node) -> Tree:
    made = Tree(_row(node), guide_style=_GUIDES)
    for child in node.children:
        made.children.append(_rich(child))
    return made


def _row(node: Node) -> Text:
    text = Text()
    for index, cell in enumerate(each for each in node.cells if each.text):
        text.append_text(printable(("  " if index else "") + cell.text, _COLOURS[cell.style]))
    text.rstrip()
    return text


def print_data(data: Any, form: Format) -> None:
    """Print plain data as JSON or YAML, without colours, so that it can be read by a program."""
    if form is Format.JSON:
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    else:
        import yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    console()  # for its care about encodings
    sys.stdout.write(text)


@contextmanager
def sentences() -> Iterator[None]:
    """Turn a PluginError into its sentence on standard error and exit code 2."""
    try:
        yield
    except PluginError as error:
        console(stderr=True).print(printable(f"error: {error}", keep="\n"))
        raise typer.Exit(ERROR) from error
