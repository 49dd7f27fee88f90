"""Quotes of a CSV file: each opens where a field begins and closes where one ends; a stray one swallows whole rows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from rnn_model.errors import DataError

QUOTE = '"'
REST = re.compile(r'(?:[^"]++|"")*+"')  # of a field that is open, up to the quote that closes it
REMEDY = 'take it out, or write it as "" inside a quoted field'


class Break(NamedTuple):
    """A quoted field that goes on past the end of its line."""

    first: int  # row in which it opens, the header being row 1
    last: int  # row in which it closes
    field: int  # number of the field, from 0
    lines: tuple[str, ...]  # what stands in it


def check_quotes(path: Path, where: str, separator: str = ",") -> list[Break]:
    """The fields of a UTF-8 file that hold line breaks. Raises DataError for the first quote out of its place.

    Lines are looked at by Polars; only a file in which one does not hold for itself is read by this module.
    """
    plain, sign = f'[^"{re.escape(separator)}]*', re.escape(separator)
    field = f'(?:"(?:[^"]|"")*"|{plain})'
    whole = f"^\\x{{feff}}?{field}(?:{sign}{field})*\\r?$"
    line = pl.col("line")
    odd = pl.scan_lines(path, name="line", glob=False).filter(line.str.contains(QUOTE, literal=True))
    if odd.filter(~line.str.contains(whole)).head(1).collect().is_empty():
        return []
    return list(breaks(path, where, separator))


def breaks(path: Path, where: str, separator: str) -> Iterator[Break]:
    """As `check_quotes`, line by line."""
    opened: Break | None = None
    row = 0
    with path.open(newline="\n", encoding="utf-8-sig") as handle:
        for row, text in enumerate(handle, start=1):
            line = text.removesuffix("\n").removesuffix("\r")
            start, number = 0, 0
            if opened is not None:
                end = REST.match(line)
                opened = opened._replace(last=row, lines=(*opened.lines, line[: end.end() - 1] if end else line))
                if end is None:
                    continue
                yield opened
                start, number, opened = end.end(), opened.field, None
                if start < len(line) and line[start] != separator:
                    raise misplaced(where, row, number)
                start, number = start + 1, number + 1
            elif QUOTE not in line:
                continue
            opened = scan_fields(line, Break(row, row, number, ()), start, where, separator)
    if opened is not None:
        raise DataError(
            f"{where}: row {opened.first}: the quote before field {opened.field + 1} never closes; {REMEDY}"
        )


def scan_fields(line: str, place: Break, start: int, where: str, separator: str) -> Break | None:
    """The field that is open at the end of a line, scanned from `start`. Raises DataError for a misplaced quote."""
    row, number = place.first, place.field
    while start < len(line):
        if line[start] == QUOTE:
            end = REST.match(line, start + 1)
            if end is None:
                return Break(row, row, number, (line[start + 1 :],))
            start = end.end()
        else:
            stop = line.find(separator, start)
            stop = len(line) if stop < 0 else stop
            if QUOTE in line[start:stop]:
                raise misplaced(where, row, number)
            start = stop
        if start < len(line) and line[start] != separator:
            raise misplaced(where, row, number)
        start, number = start + 1, number + 1
    return None


def misplaced(where: str, row: int, number: int) -> DataError:
    """A quote inside a field that is not quoted, or text behind the quote that closes one."""
    return DataError(f"{where}: row {row}: a quote stands in the middle of field {number + 1}; {REMEDY}")


def refuse_breaks(found: list[Break], header: list[str], used: set[str], where: str, separator: str = ",") -> None:
    """Raise DataError for a field with line breaks in a column that is `used`, or that holds what looks like rows."""
    for each in found:
        name = header[each.field] if each.field < len(header) else ""
        rows = [line for line in each.lines if line.count(separator) == len(header) - 1 > 0]
        if rows or name in used:
            raise DataError(
                f"{where}: row {each.first}: a quote opens before field {each.field + 1} and closes in row "
                f"{each.last}, so the rows in between are none; {REMEDY}"
            )
