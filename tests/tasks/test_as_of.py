"""As of a time: what came later does not exist, and it is said how much that is."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import SeriesConfig, SourceConfig
from tasks.validate import account_rows, validate_dataset

ROWS = "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\na,2024-01-03,3\nb,2024-01-02,5\nb,2024-01-03,6\n"
EARLY = "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-02,5\n"
Read = Callable[..., Dataset]


def test_data_as_of_a_time_is_the_data_that_ended_there(read: Read) -> None:
    early, cut = read(EARLY, "early.csv"), read(ROWS, as_of="2024-01-02")
    assert (cut.fingerprint, cut.rows, cut.series) == (early.fingerprint, 3, 2)
    assert (cut.later, early.later) == (2, 0)
    assert read(ROWS).fingerprint != cut.fingerprint


def test_a_series_that_begins_later_does_not_exist(read: Read) -> None:
    assert read(ROWS, as_of="2024-01-01T23:59:59").series == 1


@pytest.mark.parametrize(("as_of", "rows"), [("2024-01-01T12:00", 1), ("2024-01-01T12:30+02:00", 0)])
def test_times_with_a_zone_are_compared_in_utc(read: Read, refusal: Callable[..., str], as_of: str, rows: int) -> None:
    zoned = "unique_id,ds,y\na,2024-01-01T12:00+01:00,1\na,2024-01-02T13:00+01:00,2\n"  # 11:00 and 12:00 in UTC
    if rows:
        assert read(zoned, freq="h", as_of=as_of).rows == rows
    else:
        assert "no rows up to as_of 2024-01-01T12:30+02:00" in refusal(zoned, freq="h", as_of=as_of)


def test_an_offset_for_times_without_one_is_refused(refusal: Callable[..., str]) -> None:
    assert "give it without its offset" in refusal(ROWS, as_of="2024-01-02T00:00Z")


def test_nothing_that_early_is_refused_with_the_first_time(refusal: Callable[..., str]) -> None:
    assert "no rows up to as_of 2023-12-31, the first is of 2024-01-01" in refusal(ROWS, as_of="2023-12-31")


@pytest.mark.parametrize("wrong", ["yesterday", "01.03.2024", "2024-13-01", "", 20240301])
def test_other_than_iso_8601_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match=r"as_of\n"):
        SeriesConfig.model_validate({"as_of": wrong})


def test_an_unquoted_date_of_a_yaml_file_is_taken() -> None:
    assert SourceConfig.model_validate({"as_of": date(2024, 3, 1)}).as_of == "2024-03-01"


def test_the_account_counts_up_to_as_of_and_says_what_came_later(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    config = SeriesConfig(path=str(tmp_path / "rows.csv"), freq="D", as_of="2024-01-02")
    raw = ingest_files(config, "rows", tmp_path)
    account = validate_dataset(raw, config, need=1, context=8, root=tmp_path).account
    assert (account.rows_in, account.later) == (3, 2)
    assert account.balanced()
    assert ("not read: later than as_of", 2) in account_rows(account)
