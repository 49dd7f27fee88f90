"""The contract applied to a data set on disk: what is published, when the run stops, and what it says then."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from rnn_model.errors import DataError, IntegrityError
from tasks.handles import Account, Dataset, Validated
from tasks.ingest import ingest_files
from tasks.series_config import SeriesConfig
from tasks.validate import account_rows, validate_dataset

DAY = datetime(2024, 1, 1)
Validate = Callable[..., Validated]


@pytest.fixture
def ingested(tmp_path: Path) -> Callable[..., Dataset]:
    """Series, each a list of values from 2024-01-01 on or of (timestamp, value), as an ingested data set."""

    def call(freq: str = "D", **series: list[object]) -> Dataset:
        points = [
            (name, *(value if isinstance(value, tuple) else (DAY + timedelta(days=n), value)))
            for name, values in series.items()
            for n, value in enumerate(values)
        ]
        path = tmp_path / "rows.parquet"
        schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
        pl.DataFrame(points, schema=schema, orient="row").write_parquet(path)
        return ingest_files(SeriesConfig(path=str(path), freq=freq), "rows", tmp_path / "raw")

    return call


@pytest.fixture
def checked(tmp_path: Path) -> Validate:
    """Validate with a need of 2 points and a context of 4 unless told otherwise."""

    def call(dataset: Dataset, need: int = 2, context: int = 4, **options: object) -> Validated:
        config = SeriesConfig.model_validate({"path": "rows.parquet", "freq": dataset.freq} | options)
        return validate_dataset(dataset, config, need, context, tmp_path / "validated")

    return call


def refusal(checked: Validate, dataset: Dataset, **options: object) -> str:
    with pytest.raises(DataError) as raised:
        checked(dataset, **options)
    assert raised.value.exit_code == 65
    assert "\n" not in str(raised.value)
    return str(raised.value)


BROKEN = [1.0, float("inf"), 3.0]
FINE = [1.0, 2.0, 3.0, 4.0]


def test_what_passed_is_published_and_what_did_not_stands_beside_it(
    ingested: Callable[..., Dataset], checked: Validate
) -> None:
    validated = checked(ingested(a=FINE, b=BROKEN, c=FINE), max_quarantined=0.4)
    folder = validated.dataset.folder
    assert pl.read_parquet(validated.dataset.data)["unique_id"].unique(maintain_order=True).to_list() == ["a", "c"]
    assert pl.read_parquet(folder / "quarantine.parquet").select("unique_id", "rule").rows() == [
        ("b", "infinite value")
    ]
    assert Account.model_validate(json.loads((folder / "account.json").read_text())) == validated.account
    assert (validated.dataset.rows, validated.dataset.series) == (8, 2)


def test_the_ingested_data_set_is_not_touched(ingested: Callable[..., Dataset], checked: Validate) -> None:
    dataset = ingested(a=FINE, b=[1.0, 2.0, None])
    before = dataset.data.read_bytes()
    checked(dataset, gaps="zero")
    assert dataset.data.read_bytes() == before


def test_validating_again_gives_the_same_folder(ingested: Callable[..., Dataset], checked: Validate) -> None:
    dataset = ingested(a=FINE)
    assert checked(dataset) == checked(dataset)


@pytest.mark.parametrize("options", [{"gaps": "zero"}, {"need": 3}, {"context": 99}, {"max_quarantined": 1}])
def test_options_that_leave_the_same_rows_leave_the_same_fingerprint(
    ingested: Callable[..., Dataset], checked: Validate, options: dict[str, object]
) -> None:
    dataset = ingested(a=FINE)
    assert checked(dataset).dataset.fingerprint == checked(dataset, **options).dataset.fingerprint


def test_the_fingerprint_is_that_of_the_used_rows_alone(ingested: Callable[..., Dataset], checked: Validate) -> None:
    with_bad = checked(ingested(a=FINE, b=BROKEN), max_quarantined=0.5)
    assert with_bad.dataset.fingerprint == checked(ingested(a=FINE)).dataset.fingerprint


def test_rows_filled_by_policy_are_other_data(ingested: Callable[..., Dataset], checked: Validate) -> None:
    dataset = ingested(a=[(DAY + timedelta(days=n), 1.0) for n in (0, 1, 3, 4)])
    fingerprints = {checked(dataset, gaps=gaps).dataset.fingerprint for gaps in ("missing", "zero")}
    assert len(fingerprints) == 2


def test_the_same_rows_under_another_account_stand_in_another_folder(
    ingested: Callable[..., Dataset], checked: Validate
) -> None:
    dataset = ingested(a=FINE)
    used, padded = checked(dataset), checked(dataset, context=99)
    assert used.account != padded.account
    assert used.dataset.folder != padded.dataset.folder


@pytest.mark.parametrize("gaps", ["missing", "zero"])
def test_the_data_set_says_how_gaps_were_taken(ingested: Callable[..., Dataset], checked: Validate, gaps: str) -> None:
    assert checked(ingested(a=FINE), gaps=gaps).dataset.gaps == gaps


def test_a_damaged_data_set_is_refused(ingested: Callable[..., Dataset], checked: Validate) -> None:
    dataset = ingested(a=FINE)
    dataset.data.write_bytes(dataset.data.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"data\.parquet changed"):
        checked(dataset)


# when the run stops


def test_up_to_the_allowed_share_is_set_aside(ingested: Callable[..., Dataset], checked: Validate) -> None:
    dataset = ingested(a=FINE, b=FINE, c=FINE, d=BROKEN)
    assert checked(dataset, max_quarantined=0.25).account.series_used == 3


def test_past_the_allowed_share_the_run_stops_with_counts_per_rule(
    ingested: Callable[..., Dataset], checked: Validate
) -> None:
    dataset = ingested(a=FINE, b=FINE, c=BROKEN, d=BROKEN, e=[5.0])
    message = refusal(checked, dataset, max_quarantined=0.5)
    assert "3 of 5 series set aside (allowed: 50%, and one must be left): infinite value (2), shorter than 2 (1)" in (
        message
    )
    assert "e.g. series 'c' at 2024-01-02 00:00" in message
    assert "--target.max_quarantined" in message


def test_a_stopped_run_publishes_nothing(ingested: Callable[..., Dataset], checked: Validate, tmp_path: Path) -> None:
    refusal(checked, ingested(a=FINE, b=BROKEN), max_quarantined=0)
    assert not (tmp_path / "validated").exists()


def test_with_no_series_left_the_run_stops_whatever_share_is_allowed(
    ingested: Callable[..., Dataset], checked: Validate
) -> None:
    message = refusal(checked, ingested(a=BROKEN, b=[None, None, None]), max_quarantined=1)
    assert "2 of 2 series set aside" in message
    assert "no value at all (1)" in message
    assert message.endswith("; mend the data")  # a larger share would not help


def test_a_series_too_short_is_refused_with_need_and_have(ingested: Callable[..., Dataset], checked: Validate) -> None:
    message = refusal(checked, ingested(a=[1.0, None, 3.0]), need=10)
    assert "shorter than 10 (1)" in message
    assert "2 values in 3 rows" in message


@pytest.mark.parametrize("year", [1, 9999])
def test_a_time_no_library_can_hold_is_named(ingested: Callable[..., Dataset], checked: Validate, year: int) -> None:
    message = refusal(checked, ingested(a=[(datetime(year, 1, 1), 1.0), (datetime(2020, 1, 1), 2.0)], freq="YS"))
    assert "time out of range (1)" in message


@pytest.mark.parametrize(
    ("truth", "declared", "likely"),
    [
        ("MS", "h", "MS"),
        ("MS", "D", "MS"),
        ("D", "MS", "D"),
        ("YS", "MS", "YS"),
        ("QS", "MS", "QS"),
        ("h", "D", "h"),
        ("15min", "h", "15min"),
        ("D", "h", "D"),
        ("D", "B", "D"),
        ("W-MON", "D", "W"),
    ],
)
def test_a_wrong_frequency_is_refused_with_the_likely_one(
    ingested: Callable[..., Dataset], checked: Validate, truth: str, declared: str, likely: str
) -> None:
    stamps = [stamp.to_pydatetime() for stamp in pd.date_range("2023-01-01", periods=40, freq=truth)]
    message = refusal(checked, ingested(freq=declared, a=[(ds, 1.0) for ds in stamps]))
    assert f"freq {declared}; the rows look like freq {likely}: give --target.freq {likely}, or " in message


@pytest.mark.parametrize("freq", ["W-MON", "ME", "QE", "QS-FEB", "H"])
def test_a_right_frequency_by_another_name_is_not_doubted(
    ingested: Callable[..., Dataset], checked: Validate, freq: str
) -> None:
    stamps = [stamp.to_pydatetime() for stamp in pd.date_range("2023-01-01", periods=40, freq=freq.replace("H", "h"))]
    message = refusal(checked, ingested(freq=freq, a=[(ds, 1.0) for ds in stamps]), need=50)
    assert message.endswith("; bring longer series, or shorten --window.horizon")


def test_two_months_called_hours_are_refused_with_the_likely_frequency(
    ingested: Callable[..., Dataset], checked: Validate
) -> None:
    months = [(datetime(2024, 1, 1), 1.0), (datetime(2024, 2, 1), 2.0)]
    assert "the rows look like freq MS" in refusal(checked, ingested(freq="h", a=months))


def test_rows_of_the_declared_frequency_get_no_hint(ingested: Callable[..., Dataset], checked: Validate) -> None:
    assert "look like" not in refusal(checked, ingested(a=[1.0, 2.0, 3.0]), need=10)


def test_the_account_is_shown_line_by_line() -> None:
    account = Account(
        rows_in=9, used=4, padded=2, quarantined={"a": 1, "b": 2}, added=5, series_in=4, series_used=2, constant=1
    )
    assert account_rows(account) == [
        ("rows in", 9),
        ("used", 4),
        ("used with padding", 2),
        ("quarantined: a", 1),
        ("quarantined: b", 2),
        ("added to the grid", 5),
        ("constant series", 1),
    ]


def test_notes_of_the_reading_reach_the_account(ingested: Callable[..., Dataset], checked: Validate) -> None:
    noted = ingested(a=FINE).model_copy(update={"notes": ("ids 1 and 1.0 are one series",)})
    assert checked(noted).account.notes == ("ids 1 and 1.0 are one series",)
