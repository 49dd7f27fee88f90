"""A CSV that a spreadsheet opens runs nothing: no cell begins like a formula, wherever it is seen to begin."""

import csv
import io
import unicodedata
from pathlib import Path

import polars as pl
import pytest

from tasks.batches import csv_bytes, parquet_bytes

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"  # plain, of full width, small
HIDDEN = [
    "",
    " ",
    "   ",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\u2060",
    "\u00ad",
    "\u202e",
    "\u180e",
    "\u2800",
    "\x00",
    '"',
]
BREAKS = ["\n", "\r\n", "\r", "\t", "\u2028", "\x0b", "; ", ";", ", ", "\n\n", "\n \u200b"]


def cells(text: str) -> list[str]:
    """What a spreadsheet may take for a cell: every field, and its parts at line breaks and separators."""
    whole = [
        field
        for row in csv.reader(io.StringIO(csv_bytes(pl.DataFrame({"id": [text]})).decode(), newline=""))
        for field in row
    ]
    assert whole.pop(0) == "id"
    parts = whole[0]
    for sign in "\r\n\t\u2028\x0b;,":
        parts = parts.replace(sign, "\0\0\n")
    return [whole[0], *(part.removesuffix("\0\0") for part in parts.split("\n"))]


def runs(cell: str) -> bool:
    """Whether a spreadsheet that ignores what it cannot show would take a cell for a formula."""
    seen = "".join(c for c in cell if unicodedata.category(c)[0] not in "ZC" and c not in '\u2800"')
    return seen[:1] in tuple(SIGNS) or cell[:1] in ("\t", "\r", "\n")


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("sign", SIGNS)
def test_a_formula_behind_what_is_not_seen_is_a_text(sign: str, hidden: str) -> None:
    assert not any(runs(cell) for cell in cells(f"{hidden}{sign}cmd|' /C calc'!A0"))


@pytest.mark.parametrize("between", BREAKS)
@pytest.mark.parametrize("sign", SIGNS)
def test_a_formula_after_a_line_break_or_separator_is_a_text(sign: str, between: str) -> None:
    assert not any(runs(cell) for cell in cells(f"north{between}{sign}1+1"))
    assert not any(runs(cell) for cell in cells(f"{between}{sign}1+1{between}{sign}2"))


@pytest.mark.parametrize("text", ["\tnorth", "\rnorth", "\nnorth"])
def test_a_beginning_that_some_drop_is_none(text: str) -> None:
    assert not any(runs(cell) for cell in cells(text)[:1])


@pytest.mark.parametrize(
    "text", ["north", "a-b", "a = b", "1+1", "me@example.org", "'=x", "Überlauf", "日本", "", "a;b, c"]
)
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert cells(text)[0] == text


def test_numbers_and_times_stay_and_parquet_is_exact(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "unique_id": ["=1+1", "a"],
            "ds": [None, 3],
            "y_hat": [-1.5, float("inf")],
            "kind": pl.Series(["-x", "b"], dtype=pl.Categorical),
        }
    )
    assert csv_bytes(frame).decode() == "unique_id,ds,y_hat,kind\n'=1+1,,-1.5,'-x\na,3,inf,b\n"
    assert pl.read_parquet(io.BytesIO(parquet_bytes(frame))).equals(frame)
