"""What a user wrote stands in a table as it was written, brackets and colons included."""

import re
from pathlib import Path

import pytest
from rich.table import Table

from flows.cli import complain
from tasks.backfill import Backfill, Day, print_backfill
from tasks.config import PROJECT
from tasks.sweep import Sweep, UnitResult, print_sweep
from tasks.terminal import counted, print_plainly, printable, say

WORDS = ["[new]", "[/data/*.csv]", "[bold]x[/bold]", ":car:"]


@pytest.mark.parametrize("words", WORDS)
def test_titles_heads_and_cells_stand_as_they_are(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title=f"of {words}")
    table.add_column(f"head {words}")
    table.add_row(f"cell {words}")
    print_plainly(table, 80)
    said = capsys.readouterr().out
    assert [f"{place} {words}" in said for place in ("of", "head", "cell")] == [True] * 3


@pytest.mark.parametrize("words", WORDS)
def test_an_error_or_a_path_in_brackets_is_shown(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_backfill(Backfill(days=(Day(as_of="2024-01-01", error=words, code=65),)))
    print_sweep(Sweep(folder=Path("x"), units=(UnitResult(unit=words, seconds=1, code=0, log=Path("x")),)))
    assert capsys.readouterr().out.count(words) == 2


def test_every_table_goes_through_the_one_door() -> None:
    sources = [path for package in ("flows", "tasks") for path in (PROJECT / package).rglob("*.py")]
    assert [path.name for path in sources if re.search(r"rich\.console|rich\.print", path.read_text())] == [
        "terminal.py"
    ]


@pytest.mark.parametrize(
    ("noun", "one", "two"),
    [("window", "1 window", "2 windows"), ("batch", "1 batch", "2 batches"), ("series", "1 series", "2 series")],
)
def test_one_of_a_kind_is_not_told_as_many(noun: str, one: str, two: str) -> None:
    assert (counted(1, noun), counted(2, noun)) == (one, two)


def test_tables_of_one_line_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_backfill(Backfill(days=(Day(as_of="2024-01-01"),)))
    print_sweep(Sweep(folder=Path("x"), units=(UnitResult(unit="u", seconds=1, code=0, log=Path("x")),)))
    said = capsys.readouterr().out
    assert [f"{title}\n" in re.sub(" +\n", "\n", said) for title in ("Backfill: 1 time", "Sweep: 1 unit")] == [True] * 2


STEERS = ["\x1b[2J\x1b[31mred", "\x07", "\x9b2J", "\rover", "\x08", "\u202egnp.exe", "\ud800", "\x00"]


@pytest.mark.parametrize("text", STEERS, ids=ascii)
def test_an_id_steers_no_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title=f"of {text}")
    table.add_column(f"head {text}")
    table.add_row(f"cell {text}")
    print_plainly(table, 80)
    say(f"the network did not forecast {text}: no value at all", error=True)
    said = "".join(capsys.readouterr())
    assert not any(sign in said for sign in "\x1b\x07\x9b\r\x08\u202e\ud800\x00")
    assert said.count(text[0].encode("unicode_escape").decode()) >= 4


def test_an_error_is_one_line_whatever_an_id_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("series 'a\ncarryover: all is well\x1b[1A' is not known", 65) == 65
    assert capsys.readouterr().err == r"carryover: series 'a\ncarryover: all is well\x1b[1A' is not known" + "\n"


def test_what_is_said_has_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    say("at http://u:canary@h")
    assert capsys.readouterr().out == "at http://***@h\n"


def test_writing_of_the_world_is_no_control() -> None:
    words = "N\u00f8rd \u65e5\u672c\tx\n\U0001f469\u200d\U0001f680"
    assert printable(words) == words
