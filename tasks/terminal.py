"""Tables in the terminal, their words as they are: a path or a name of the user is no markup."""

import sys

from rich.console import Console
from rich.table import Table


def print_plainly(table: Table, width: int) -> None:
    """Print a table; `width` in characters where the output is no terminal."""
    Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False).print(table)
