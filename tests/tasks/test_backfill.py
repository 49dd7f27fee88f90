"""The times of a backfill, and the source as it was known then."""

import pytest

from rnn_model.errors import ConfigError
from tasks.backfill import Backfill, Day, known_then, moments
from tasks.series_config import SourceConfig


@pytest.mark.parametrize(
    ("first", "last", "every", "freq", "expected"),
    [
        ("2024-02-28", "2024-03-01", None, "D", ("2024-02-28", "2024-02-29", "2024-03-01")),
        ("2024-01-01", "2024-01-02", None, "15min", ("2024-01-01", "2024-01-02")),
        ("2024-01-01", "2024-01-15", None, "W-MON", ("2024-01-01", "2024-01-08", "2024-01-15")),
        ("2024-01-31", "2024-03-31", None, "MS", ("2024-01-31", "2024-02-29", "2024-03-31")),
        ("2023-12-01", "2024-07-01", None, "QS", ("2023-12-01", "2024-03-01", "2024-06-01")),
        ("2023-12-01", "2024-02-01", "mo", "D", ("2023-12-01", "2024-01-01", "2024-02-01")),
        ("2024-01-01T06:00", "2024-01-02", None, "h", ("2024-01-01T06:00:00",)),
        ("2024-01-01T01:00+01:00", "2024-01-02T00:00Z", None, "h", ("2024-01-01T00:00:00+00:00", None)),
        ("2024-01-01", "2024-01-01", None, "D", ("2024-01-01",)),
    ],
)
def test_times_go_from_the_first_to_the_last(
    first: str, last: str, every: str | None, freq: str, expected: tuple[str | None, ...]
) -> None:
    found = moments(first, last, every, freq)  # type: ignore[arg-type]
    assert found[: len(expected)] == tuple(e or "2024-01-02T00:00:00+00:00" for e in expected)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("2024-01-02", "2024-01-01", "to 2024-01-01 is before from 2024-01-02"),
        ("2024-01-01T00:00Z", "2024-01-02", "one has an offset"),
        ("yesterday", "2024-01-02", "'yesterday' is no ISO 8601 time"),
    ],
)
def test_what_is_no_range_is_refused(first: str, last: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        moments(first, last, None, "D")


def test_a_real_source_is_known_as_of_the_day_and_no_later_than_it_says() -> None:
    real = SourceConfig(path="others.csv", freq="D")
    assert known_then(real, "2024-03-01").as_of == "2024-03-01"
    assert known_then(real.model_copy(update={"as_of": "2024-02-01"}), "2024-03-01").as_of == "2024-02-01"
    assert known_then(real.model_copy(update={"as_of": "2025-02-01"}), "2024-03-01").as_of == "2024-03-01"
    assert known_then(SourceConfig(), "2024-03-01") == SourceConfig()


def test_the_exit_code_is_that_of_the_first_error() -> None:
    days = (Day(as_of="1"), Day(as_of="2", code=65), Day(as_of="3", code=2))
    assert (Backfill(days=days).exit_code, Backfill(days=days[:1]).exit_code) == (65, 0)
