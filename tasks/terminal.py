"""What a person reads: tables in the terminal, their words as they are (a path or a name of the user is no markup),
and numbers with their nouns."""

import sys

from rich.console import Console
from rich.table import Table


def print_plainly(table: Table, width: int) -> None:
    """Print a table; `width` in characters where the output is no terminal."""
    Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False).print(table)


def counted(n: int, noun: str) -> str:
    """A number with its noun: 1 window, 2 windows, 2 batches, 2 series."""
    plural = noun if noun.endswith("s") else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{n} {noun if n == 1 else plural}"


def figure(value: float | None) -> str:
    """Four digits, or a dash where there is no figure."""
    return "-" if value is None else f"{value:.4g}"
