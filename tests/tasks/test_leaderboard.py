"""Which sets a folder holds, and how models stand over all of them, against numbers worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rnn_model.errors import ConfigError, DataError
from tasks.handles import Run
from tasks.leaderboard import BenchmarkSet, Leaderboard, overall, print_board, read_sets

INDEX = {
    "months": {"freq": "MS", "season": 12, "horizon": 18, "series": 3},
    "days": {"freq": "D", "season": 5, "horizon": 30},
}


def folder(tmp_path: Path, index: Any) -> Path:
    (tmp_path / "datasets.json").write_text(index if isinstance(index, str) else json.dumps(index))
    for name in INDEX:
        (tmp_path / f"{name}.parquet").touch()
    return tmp_path


def row(mase: float, wql: float) -> dict[str, float]:
    return {"MASE": mase, "WQL": wql, "coverage_80": 0.8}


SCORES = {
    "a": {"SeasonalNaive": row(2.0, 0.4), "zero-shot": row(1.0, 0.1), "full": row(1.5, 0.2)},
    "b": {"SeasonalNaive": row(1.0, 0.1), "zero-shot": row(2.0, 0.1)},
}


def test_all_sets_or_the_wanted_ones(tmp_path: Path) -> None:
    where = folder(tmp_path, INDEX)
    assert read_sets(where, ()) == {
        "months": BenchmarkSet(freq="MS", season=12, horizon=18),
        "days": BenchmarkSet(freq="D", season=5, horizon=30),
    }
    assert list(read_sets(where, ("days",))) == ["days"]


def test_an_unknown_set_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sets hours are not in .*; it has months, days"):
        read_sets(folder(tmp_path, INDEX), ("hours", "days"))


@pytest.mark.parametrize(
    "index", ["{", "[1]", "[]x", {"a": {"freq": "MS"}}, {"a": 3}, {"a": {"freq": "MS", "season": 0, "horizon": 1}}]
)
def test_a_bad_index_is_refused_with_what_was_expected(tmp_path: Path, index: Any) -> None:
    with pytest.raises(DataError, match="not a list of data sets"):
        read_sets(folder(tmp_path, index), ())


@pytest.mark.parametrize(("field", "value"), [("freq", "fortnight"), ("horizon", 513), ("season", 0)])
def test_what_no_run_would_take_is_refused_before_any_run(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(DataError, match="not a list of data sets"):
        read_sets(folder(tmp_path, {"months": INDEX["months"] | {field: value}}), ())


def test_a_set_without_its_file_is_refused_unless_others_are_wanted(tmp_path: Path) -> None:
    where = folder(tmp_path, INDEX)
    (where / "days.parquet").unlink()
    assert list(read_sets(where, ("months",))) == ["months"]
    with pytest.raises(DataError, match=r"days\.parquet not there"):
        read_sets(where, ())


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"datasets\.json: not a list of data sets"):
        read_sets(tmp_path, ())


def test_a_season_is_stated_only_where_the_convention_differs() -> None:
    path = Path("x.parquet")
    assert BenchmarkSet(freq="MS", season=12, horizon=1).target(path).season is None
    assert BenchmarkSet(freq="W-MON", season=1, horizon=1).target(path).season is None
    assert BenchmarkSet(freq="D", season=5, horizon=1).target(path).season == 5


def test_overall_is_the_geometric_mean_over_the_seasonal_naive_of_models_on_every_set() -> None:
    means = overall(SCORES)
    assert set(means) == {"SeasonalNaive", "zero-shot"}  # full stands on one set only
    assert means["SeasonalNaive"] == {"MASE": pytest.approx(1), "WQL": pytest.approx(1)}
    assert means["zero-shot"]["MASE"] == pytest.approx((0.5 * 2.0) ** 0.5)
    assert means["zero-shot"]["WQL"] == pytest.approx((0.25 * 1.0) ** 0.5)


def test_a_set_without_a_ratio_does_not_count() -> None:
    perfect = {"SeasonalNaive": row(0.0, 0.0), "zero-shot": row(1.0, 0.5)}
    unknown = {"SeasonalNaive": row(1.0, 1.0), "zero-shot": row(float("nan"), float("nan"))}
    means = overall(SCORES | {"c": perfect, "d": unknown})
    assert means["zero-shot"]["MASE"] == pytest.approx((0.5 * 2.0) ** 0.5)
    assert math.isnan(overall({"c": perfect})["zero-shot"]["MASE"])


def test_without_the_seasonal_naive_nothing_is_relative() -> None:
    assert overall({"a": {"zero-shot": row(1, 1)}}) == overall({}) == {}


def test_the_board_shows_every_model_and_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(uri="sqlite:///x", experiment_id="1", run_id="r", name="n")
    print_board(Leaderboard(run=run, sets={}, scores=SCORES, overall=overall(SCORES)))
    shown = capsys.readouterr().out
    tables = shown.split("coverage_80")
    assert all(model in shown for model in ("SeasonalNaive", "zero-shot", "full"))
    assert tables[0].count("relative") == 2
    assert "relative" not in tables[1]
