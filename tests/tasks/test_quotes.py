"""A quote out of its place is refused with the row where it opens; quotes that are in their place cost nothing."""

import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tasks import quotes
from tasks.handles import Dataset
from tasks.quotes import check_quotes

Read = Callable[..., Dataset]
Refusal = Callable[..., str]
HEADER = "unique_id,ds,y\n"
DAYS = [f"a,2024-01-{day:02},{day}\n" for day in range(1, 21)]


def with_line(row: int, line: str, last: str | None = None, until: int = 0) -> str:
    """The header and DAYS, one line of them (row 2 is the first) replaced, perhaps a later one too."""
    lines = DAYS.copy()
    lines[row - 2] = line + "\n"
    if last is not None:
        lines[until - 2] = last + "\n"
    return HEADER + "".join(lines)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_that_closes_rows_later_is_refused_with_both_rows(refusal: Refusal, end: str) -> None:
    text = with_line(5, '"a,2024-01-04,4', 'a",2024-01-14,14', 15)
    message = refusal(text.replace("\n", end))
    assert message.endswith(
        "row 5: a quote opens before field 1 and closes in row 15, so the rows in between are none; take it out, or "
        'write it as "" inside a quoted field'
    )


@pytest.mark.parametrize(
    ("line", "field"),
    [('"a,2024-01-04,4', 1), ('a,"2024-01-04,4', 2), ('a,2024-01-04,"4', 3), ('"a"",2024-01-04,4', 1)],
)
def test_a_quote_that_never_closes_is_refused_with_its_row(refusal: Refusal, line: str, field: int) -> None:
    assert f"row 5: the quote before field {field} never closes" in refusal(with_line(5, line))


def test_a_quote_that_opens_on_the_last_line_is_refused(refusal: Refusal) -> None:
    assert "row 22: the quote before field 1 never closes" in refusal(HEADER + "".join(DAYS) + '"')


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('a"b,2024-01-04,4', 1),
        ('a",2024-01-04,4', 1),
        ('"a"b,2024-01-04,4', 1),
        ('"a" ,2024-01-04,4', 1),
        (' "a",2024-01-04,4', 1),
        ('a,2024-01-04,4"', 3),
        ('"a""b"c","2024-01-04",4', 1),
    ],
)
def test_a_quote_in_the_middle_of_a_field_is_refused_with_its_row(refusal: Refusal, line: str, field: int) -> None:
    assert f"row 5: a quote stands in the middle of field {field}" in refusal(with_line(5, line))


def test_a_quote_in_the_middle_after_a_field_of_several_lines_is_refused_too(refusal: Refusal) -> None:
    assert "row 3: a quote stands in the middle of field 1" in refusal(f'{HEADER}"a\nb"c,2024-01-01,1\n')
    assert "row 3: a quote stands in the middle of field 2" in refusal(f'{HEADER}"a\nb",2"024-01-01,1\n')


@pytest.mark.parametrize("line", ['"a\nb",2024-01-04,4', 'a,"2024-01-04\n",4', 'a,2024-01-04,"\n4"'])
def test_a_line_break_in_a_column_that_is_read_is_refused(refusal: Refusal, line: str) -> None:
    assert "row 5: a quote opens before field" in refusal(with_line(5, line))


def test_a_line_break_in_a_column_that_is_not_read_is_none_of_our_business(read: Read) -> None:
    plain = "unique_id,ds,y,note\na,2024-01-01,1,fine\nb,2024-01-01,2,\n"
    broken = plain.replace("fine", '"fine,\r\nas it ""seems"" to be\n\n"')
    assert read(broken).fingerprint == read(plain, "plain.csv").fingerprint


@pytest.mark.parametrize("name", ["note", "unique_id"])
def test_a_column_that_swallows_rows_is_refused_whether_it_is_read_or_not(refusal: Refusal, name: str) -> None:
    rows = "".join(f"a,2024-01-0{day},1,fine\n" for day in range(1, 8)).replace("3,1,fine", '3,1,"fine')
    text = f"unique_id,ds,y,note\n{rows}".replace("6,1,fine", '6,1,fine"')
    assert "row 4: a quote opens before field 4 and closes in row 7" in refusal(text)


def test_a_header_that_swallows_rows_is_refused(refusal: Refusal) -> None:
    text = f'"{HEADER}' + "".join(DAYS[:3]) + 'a",2024-01-04,4\n'
    assert "row 1: a quote opens before field 1 and closes in row 5" in refusal(text)


def test_a_header_of_two_lines_is_read(read: Read) -> None:
    dataset = read('unique_id,ds,y,"price\n(EUR)"\na,2024-01-01,1,9\n')
    assert pl.read_parquet(dataset.data)["y"].to_list() == [1.0]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_quotes_in_their_place_are_read(read: Read, end: str, mark: str) -> None:
    text = f'{mark}"unique_id","ds",y{end}"a, ""the first""","2024-01-01","1.5"{end}b,2024-01-01,""{end}""""'
    frame = pl.read_parquet(read(f"{text},2024-01-01,2{end}").data)
    assert dict(frame.select("unique_id", "y").iter_rows()) == {'"': 2.0, 'a, "the first"': 1.5, "b": None}


def test_a_file_of_sound_quotes_is_not_read_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + '"a","2024-01-01","1"\n' * 300_000)
    monkeypatch.setattr(quotes, "breaks", None)  # calling it would fail
    begun = time.perf_counter()
    assert check_quotes(path, "rows.csv") == []
    assert time.perf_counter() - begun < 20  # 0.1 s on an idle core


def test_another_separator_has_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a;"b;c";1,5\n"x\ny";"";2,5\n')
    assert [(found.first, found.last, found.field, found.lines) for found in check_quotes(path, "rows.csv", ";")] == [
        (2, 3, 0, ("x", "y"))
    ]
