"""What a person reads: tables in the terminal, their words as they are (a path or a name of the user is no markup),
and numbers with their nouns. What would steer the terminal is written out, and secrets are not shown."""

import re
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnn_model.masking import mask

# C0 and C1 (escape sequences begin with one), marks that turn the direction of writing, halves of characters
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # of them, what no name needs
BREAK = re.compile("[\t\n\u2028\u2029]")


class PlainConsole(Console):
    """A console on which a text of the user steers nothing."""

    def render_str(self, text: str, **how: Any) -> Text:
        """A text as it is shown."""
        return super().render_str(printable(mask(text)), **how)


NAMED = 3  # names in a sentence, at most


def print_plainly(table: Table, width: int) -> None:
    """Print a table; `width` in characters where the output is no terminal."""
    PlainConsole(width=None if sys.stdout.isatty() else width, markup=False, emoji=False).print(table)


def say(words: str = "", error: bool = False) -> None:
    """Print words of any origin on stdout, or on stderr."""
    (sys.stderr if error else sys.stdout).write(f"{printable(mask(words))}\n")


def printable(text: str) -> str:
    r"""A text with its control characters written out: ESC becomes \x1b. Line breaks and tabs stay."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    r"""The same with line breaks and tabs written out too."""
    return BREAK.sub(lambda found: found[0].encode("unicode_escape").decode(), printable(text))


def is_control(text: str) -> bool:
    """Whether a text holds control characters, line breaks among them."""
    return bool(REFUSED.search(text))


def counted(n: int, noun: str) -> str:
    """A number with its noun: 1 window, 2 windows, 2 batches, 2 series."""
    plural = noun if noun.endswith("s") else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{n} {noun if n == 1 else plural}"


def named(names: list[str]) -> str:
    """The first few of some names, quoted: 'a', 'b', 'c' and 4 more."""
    return ", ".join(map(repr, names[:NAMED])) + (f" and {len(names) - NAMED} more" if names[NAMED:] else "")


def figure(value: float | None) -> str:
    """Four digits, or a dash where there is no figure."""
    return "-" if value is None else f"{value:.4g}"
