"""The command that forecasts: published once, copied on request, refused without a trace."""

from pathlib import Path

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from tiny_pipeline import HORIZON, series

from flows.cli import run
from tasks.forecast_log import published
from tasks.handles import Outcome

pytestmark = pytest.mark.usefixtures("one_home")


@pytest.fixture
def options(outcome: Outcome, tmp_path: Path) -> list[str]:
    """The tiny model and a target of a name of the test's own."""
    path = tmp_path / f"{tmp_path.name}.parquet"
    series().write_parquet(path)
    return ["--model", str(outcome.model_uri), "--target.path", str(path), "--target.freq", "MS"]


def name_of(options: list[str]) -> str:
    return Path(options[3]).stem


def test_a_batch_is_published_and_shown_and_the_second_time_there_is_nothing_to_do(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["forecast", *options]) == 0
    (batch,) = published(name_of(options))
    said = capsys.readouterr().out
    assert f"{name_of(options)}: 3 series, {HORIZON} steps by {options[1]} (3 model)" in said
    assert f"published as {batch.folder}" in said
    assert run(["forecast", *options]) == 0
    assert f"nothing to do: published as {batch.folder} on {batch.time[:10]}" in capsys.readouterr().out
    assert run(["forecast", *options, "--force"]) == 0
    assert [found.seq for found in published(name_of(options))] == [1, 2]


def test_it_is_told_how_many_of_the_series_were_answered(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = series().filter(pl.col("unique_id") == series()["unique_id"][0])
    empty = empty.with_columns(unique_id=pl.lit("empty"), y=pl.lit(None, dtype=pl.Float64)).select(series().columns)
    pl.concat([series(), empty]).write_parquet(tmp_path / f"{tmp_path.name}.parquet")
    assert run(["forecast", *options, "--target.max_quarantined", "0.3"]) == 0
    assert "3 of 4 series" in capsys.readouterr().out


def test_a_run_has_a_table_of_paths(options: list[str]) -> None:
    assert run(["forecast", *options]) == 0
    with get_client(sync_client=True) as client:
        request = {"artifacts": {"key": {"any_": ["forecast"]}}, "sort": "UPDATED_DESC", "limit": 1}
        (found,) = client.request("POST", "/artifacts/filter", json=request).json()
    assert found["data"] == '[{"path": "model", "series": 3}]'
    assert name_of(options) in found["description"]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_copy_is_written_even_when_the_batch_was_there(options: list[str], tmp_path: Path, kind: str) -> None:
    output = tmp_path / "out" / f"next.{kind}"
    assert run(["forecast", *options]) == 0
    assert run(["forecast", *options, "--output", str(output)]) == 0
    (batch,) = published(name_of(options))
    read = pl.read_parquet if kind == "parquet" else pl.read_csv
    columns = ["unique_id", "y_hat", "0.1", "path"]
    assert read(output).select(columns).equals(pl.read_parquet(batch.folder / "forecast.parquet").select(columns))


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (["--model", "champion"], 76, "has no champion yet; carryover run promotes one"),
        (["--output", "next.txt"], 2, "ends in neither .parquet nor .csv"),
        (["--target.as_of", "1999-01-01"], 65, "no rows up to as_of 1999-01-01"),
        (["--forecast.fallback", "mean"], 2, "forecast.fallback: Input should be 'naive' or 'none'"),
        (["--window.horizon", "99"], 2, "this model answers 1 to 6 steps"),
    ],
)
def test_what_cannot_be_forecast_is_refused_in_one_line_and_old_forecasts_stay(
    options: list[str], capsys: pytest.CaptureFixture[str], asked: list[str], code: int, words: str
) -> None:
    assert run(["forecast", *options]) == 0
    before = published(name_of(options))
    capsys.readouterr()
    assert run(["forecast", *options, *asked]) == code
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert published(name_of(options)) == before
    assert (before[0].folder / "forecast.parquet").is_file()


def test_an_empty_target_is_refused_as_data(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["forecast", *options]) == 0
    series().head(0).write_parquet(options[3])
    assert run(["forecast", *options]) == 65
    assert "no rows" in capsys.readouterr().err.strip().splitlines()[-1]
    assert len(published(name_of(options))) == 1
