"""Every logged forecast finds its truth, or is said why not; and the test sees each truth once."""

from pathlib import Path

import polars as pl
import pytest
from diary import HORIZON, SERIES, day, log_batch, told, truth

from rnn_model.errors import IntegrityError
from tasks.arrivals import corrected, data_file, known_at, maker, on_trial, read_forecasts, rounds, with_truth
from tasks.forecast_log import Batch, published


def joined(batches: tuple[Batch, ...], rows: pl.DataFrame, aside: tuple[str, ...] = ()) -> pl.DataFrame:
    return with_truth(read_forecasts(batches), rows, aside)


def states(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("state").len().iter_rows())


def test_a_forecast_waits_for_its_truth_and_is_scored_when_it_came() -> None:
    log_batch(100)
    batches = known_at(published("sales"), None)
    assert states(joined(batches, truth(101))) == {"waiting": 3 * SERIES}
    assert states(joined(batches, truth(103))) == {"scored": 2 * SERIES, "waiting": SERIES}
    assert states(joined(batches, truth(110))) == {"scored": 3 * SERIES}


def test_what_cannot_be_scored_is_counted_by_its_reason() -> None:
    log_batch(100)
    first, second, third, fourth = (pl.col("unique_id") == f"s0{n}" for n in range(4))
    rows = truth(104)
    gap = pl.when(first & (pl.col("ds") == day(102))).then(None).otherwise("y").alias("y")
    rows = rows.with_columns(gap).filter(~(second & (pl.col("ds") > day(101))) & ~third & ~fourth)
    found = states(joined(known_at(published("sales"), None), rows, aside=("s03",)))
    expected = {"missing": 1, "late": 2, "vanished": 3, "set aside": 3}
    assert found == expected | {"scored": HORIZON * SERIES - sum(expected.values())}


def test_steps_are_counted_from_the_cutoff() -> None:
    log_batch(100)
    frame = read_forecasts(published("sales"))
    assert frame.select((pl.col("ds") - pl.col("cutoff")).dt.total_days().eq(pl.col("step")).all()).item()


def test_of_two_batches_from_one_cutoff_the_last_counts() -> None:
    log_batch(100)
    log_batch(100, told(100).with_columns(pl.col("0.5") + 100))
    frame = joined(published("sales"), truth(110))
    assert frame.height == HORIZON * SERIES
    assert frame["0.5"].min() > 100


def test_batches_after_as_of_were_not_there_yet() -> None:
    for cutoff in (100, 101, 102):
        log_batch(cutoff)
    log_batch(99, as_of=None)  # made today, without an as_of
    assert [batch.seq for batch in known_at(published("sales"), day(101).isoformat())] == [1, 2]
    assert [batch.seq for batch in known_at(published("sales"), None)] == [4, 1, 2, 3]  # by cutoff


def test_every_truth_is_once_in_the_rounds_beside_the_latest_forecast_before_it() -> None:
    for cutoff in (100, 101, 103):
        log_batch(cutoff)
    batches = known_at(published("sales"), None)
    found = rounds(joined(batches, truth(107)), [day(cutoff) for cutoff in (100, 101, 103)])
    one = found.filter(pl.col("unique_id") == "s00").sort("ds")
    assert one.select("batch", "step").rows() == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]


def test_a_round_whose_truth_is_still_to_come_is_left_out_until_the_next_batch() -> None:
    log_batch(100)
    assert rounds(joined(published("sales"), truth(103)), [day(100)]).is_empty()
    log_batch(102)
    found = rounds(joined(published("sales"), truth(103)), [day(100), day(102)])
    assert found["ds"].unique().sort().to_list() == [day(101), day(102)]


def test_a_series_that_later_batches_leave_out_adds_nothing_to_a_closed_round() -> None:
    log_batch(100)
    log_batch(101, told(101).filter(pl.col("unique_id") != "s00"))
    log_batch(102, told(102).filter(pl.col("unique_id") != "s00"))
    cutoffs = [day(cutoff) for cutoff in (100, 101, 102)]
    before, after = (rounds(joined(published("sales"), truth(n)), cutoffs) for n in (103, 106))
    assert before.filter(pl.col("batch") == 0).equals(after.filter(pl.col("batch") == 0))


def test_versions_and_the_fallback_are_apart() -> None:
    log_batch(100)
    odd = pl.when(pl.col("unique_id") == "s00").then(pl.lit("naive")).otherwise("path").alias("path")
    log_batch(101, told(101).with_columns(odd), version=2)
    log_batch(102, version=None)
    assert set(read_forecasts(published("sales"))["maker"]) == {
        *("models:/sales/1 wwwwwwww", "models:/sales/2 wwwwwwww", "base wwwwwwww", "naive"),
    }
    assert maker(published("sales")[1]) == "models:/sales/2 wwwwwwww"


def test_a_version_of_another_model_or_registry_is_another_maker() -> None:
    log_batch(100)
    log_batch(101, model="models:/other/1")
    log_batch(102, weights="v" * 64)
    assert len({maker(batch) for batch in published("sales")}) == 3


def test_an_unversioned_batch_takes_no_versions_place() -> None:
    log_batch(100, version=None)
    assert on_trial(published("sales")).model == "base"
    log_batch(101)
    log_batch(102, version=None)
    assert on_trial(published("sales")).model == "models:/sales/1"


def test_values_that_were_corrected_since_are_counted_once() -> None:
    log_batch(101, data="a" * 64)
    log_batch(102, data="b" * 64)
    log_batch(103, data="c" * 64)  # whose file is gone
    for data in ("a" * 64, "b" * 64):
        data_file(data).parent.mkdir(parents=True)
        truth(102).write_parquet(data_file(data))
    otherwise = pl.when(pl.col("ds") == day(101)).then(0.0).otherwise("y").alias("y")
    rows = truth(110).with_columns(otherwise).filter(~((pl.col("ds") == day(100)) & (pl.col("unique_id") == "s00")))
    assert corrected(published("sales"), rows, day(99)) == (SERIES + 1, 1)
    assert corrected(published("sales"), rows, day(100)) == (SERIES, 1)


def test_a_changed_forecast_file_is_refused(tmp_path: Path) -> None:
    batch = log_batch(100)
    (batch.folder / "forecast.parquet").write_bytes(b"other")
    with pytest.raises(IntegrityError, match=r"forecast\.parquet"):
        read_forecasts(published("sales"))


def test_another_intact_folder_in_a_batchs_place_is_refused() -> None:
    log_batch(100)
    log_batch(101, digest="0" * 64)
    with pytest.raises(IntegrityError, match="not the file that the log names"):
        read_forecasts(published("sales"))
