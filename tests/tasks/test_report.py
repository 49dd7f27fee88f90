"""Figures show what their titles promise: read back from their axes, line by line."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnn_model.config import DECILES, QUANTILES
from tasks.evaluate import markdown
from tasks.figures import HISTORY_SHOWN, calibration_chart, error_by_step, fan_charts, learning_curves
from tasks.handles import Contender, Evaluation, Model, Selection
from tasks.metrics import per_series
from tasks.report import print_table

DAY = datetime(2024, 1, 1)
POINTS, HORIZON = 20, 2
ERRORS = {"good": 1.0, "fair": 2.0, "poor": 4.0}  # every series rises by 1 a day, so this is its MASE
TABLE = {
    "unknown": {"MASE": float("nan"), "sMAPE": 3.0},
    "worse": {"MASE": 2.0, "sMAPE": 123.456},
    "best": {"MASE": 0.5, "sMAPE": 1.0, "OWA": 0.25},
}


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    """Three series that rise by 1 a day."""
    names = [name for name in ERRORS for _ in range(POINTS)]
    days = [DAY + timedelta(days=n) for _ in ERRORS for n in range(POINTS)]
    values = [float(n) for _ in ERRORS for n in range(POINTS)]
    frame = pl.DataFrame({"unique_id": names, "ds": days, "y": values})
    return frame.with_columns(pl.col("ds").cast(pl.Datetime("us")))


@pytest.fixture(scope="module")
def forecasts(history: pl.DataFrame) -> pl.DataFrame:
    """Two models at two cutoffs: `mine` is off by its series' error, `exact` by nothing."""
    parts = []
    for model, factor in (("mine", 1.0), ("exact", 0.0)):
        for origin in (POINTS - 2 * HORIZON, POINTS - HORIZON):
            cutoff = DAY + timedelta(days=origin - 1)
            ahead = history.filter(pl.col("ds") > cutoff).group_by("unique_id", maintain_order=True).head(HORIZON)
            error = pl.col("unique_id").replace_strict(ERRORS, return_dtype=pl.Float64) * factor
            parts.append(
                ahead.with_columns(
                    *[(pl.col("y") + error).alias(q) for q in DECILES],
                    cutoff=pl.lit(cutoff).cast(pl.Datetime("us")),
                    step=((pl.col("ds") - cutoff).dt.total_days()),
                    model=pl.lit(model),
                )
            )
    return pl.concat(parts)


@pytest.fixture(scope="module")
def scores(history: pl.DataFrame, forecasts: pl.DataFrame) -> pl.DataFrame:
    own = [(name, forecasts.filter(pl.col("model") == name)) for name in ("mine", "exact")]
    return pl.concat([per_series(frame, history, 1).with_columns(model=pl.lit(name)) for name, frame in own])


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Label -> x and y of every line."""
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def only(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def contender(strategy: str, loss: float, *history: tuple[int, float, float]) -> Contender:
    model = Model(folder=Path(strategy), weights="w", strategy=strategy, context=16)
    return Contender(model=model, validation_loss=loss, history=history)


# ---- figures


def test_learning_curves_are_the_validations_of_the_trained() -> None:
    """An untrained candidate's loss is one on other windows; beside the curves it would look like a comparison."""
    tuned = contender("full", 0.25, (10, 0.9, 0.5), (20, 0.8, 0.25))
    selection = Selection(contenders=(contender("zero-shot", 0.75), tuned), chosen="full", reason="")
    axes = only(learning_curves(selection))
    assert lines(axes) == {"full": ([10, 20], [0.5, 0.25])}
    assert axes.get_xlabel() == "step"
    assert "validation loss" in axes.get_ylabel()
    assert "full was chosen" in axes.get_title()


def test_fans_are_of_the_best_the_median_and_the_worst_series(
    history: pl.DataFrame, forecasts: pl.DataFrame, scores: pl.DataFrame
) -> None:
    figure = fan_charts(history, forecasts, scores, "mine")
    assert [axes.get_title() for axes in figure.axes] == [
        "best: good, MASE 1.000",
        "median: fair, MASE 2.000",
        "worst: poor, MASE 4.000",
    ]


def test_a_fan_holds_history_up_to_the_last_cutoff_then_truth_median_and_four_bands(
    history: pl.DataFrame, forecasts: pl.DataFrame, scores: pl.DataFrame
) -> None:
    worst = fan_charts(history, forecasts, scores, "mine").axes[2]
    past, median, truth = worst.get_lines()
    cutoff = POINTS - HORIZON
    assert list(past.get_ydata()) == [float(n) for n in range(cutoff - HISTORY_SHOWN * HORIZON, cutoff)]
    assert list(truth.get_ydata()) == [18.0, 19.0]
    assert list(median.get_ydata()) == [22.0, 23.0]
    assert [line.get_label() for line in (past, truth)] == ["history", "truth"]
    assert len(worst.collections) == 4


def test_without_any_scale_no_fan_is_drawn(
    history: pl.DataFrame, forecasts: pl.DataFrame, scores: pl.DataFrame
) -> None:
    unknown = scores.with_columns(MASE=pl.lit(None, dtype=pl.Float64))
    assert [len(axes.get_lines()) for axes in fan_charts(history, forecasts, unknown, "mine").axes] == [0, 0, 0]


def test_the_error_of_every_model_is_drawn_over_the_steps(forecasts: pl.DataFrame, scores: pl.DataFrame) -> None:
    axes = only(error_by_step(forecasts, scores))
    drawn = lines(axes)
    assert set(drawn) == {"mine", "exact"}
    assert drawn["mine"] == ([1, 2], pytest.approx([7 / 3, 7 / 3]))  # (1 + 2 + 4) / 3
    assert drawn["exact"] == ([1, 2], [0, 0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps ahead", "MASE")


def test_calibration_is_drawn_beside_the_diagonal(forecasts: pl.DataFrame) -> None:
    spread = forecasts.with_columns(
        **{q: pl.lit(float(q) * 10) for q in DECILES}, y=(pl.int_range(pl.len()) % 10).cast(pl.Float64) + 0.5
    ).filter(pl.col("model") == "mine")
    spread = pl.concat([spread] * 5)  # 60 rows: every value 0.5 to 9.5 occurs, 0.5 and 1.5 more often
    axes = only(calibration_chart(spread))
    diagonal, mine = axes.get_lines()
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert list(mine.get_xdata()) == list(QUANTILES)
    y = np.tile([n % 10 + 0.5 for n in range(12)], 5)
    assert list(mine.get_ydata()) == pytest.approx([np.mean(y <= k) for k in range(1, 10)])
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))


def test_more_models_than_colours_are_all_drawn(forecasts: pl.DataFrame, scores: pl.DataFrame) -> None:
    one = pl.col("model") == "mine"
    names = [pl.lit(f"model {place}").alias("model") for place in range(12)]
    many = [pl.concat([frame.filter(one).with_columns(name) for name in names]) for frame in (forecasts, scores)]
    assert len(lines(only(error_by_step(*many)))) == 12


# ---- tables


def test_the_markdown_table_has_the_best_model_first_and_the_unknown_last() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown(TABLE).splitlines()]
    assert rows[0] == ["model", "MASE", "RMSSE", "sMAPE", "MAE", "WQL", "SQL", "coverage_80", "OWA"]
    assert set(rows[1]) == {"---"}
    assert rows[2:] == [
        ["best", "0.5", "", "1", "", "", "", "", "0.25"],
        ["worse", "2", "", "123.5", "", "", "", "", ""],
        ["unknown", "nan", "", "3", "", "", "", "", ""],
    ]


def test_the_terminals_table_marks_the_chosen_model(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = Evaluation(folder=Path("x"), horizon=2, fingerprint="f", table=TABLE, runs={}, windows=3, skipped=0)
    print_table(evaluation, "Backtest", "worse")
    shown = capsys.readouterr().out
    assert shown.index("best") < shown.index("worse (chosen)") < shown.index("unknown")
    assert shown.count("(chosen)") == 1
