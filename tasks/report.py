"""Figures and tables a person reads: what MLflow shows, and what the terminal ends with."""

import sys

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from prefect import task
from rich.console import Console
from rich.table import Table

from rnn_model.artefact import open_checked
from rnn_model.config import QUANTILES
from tasks.handles import Dataset, Evaluation, Run, Selection
from tasks.metrics import METRICS, calibration, per_step, ranked
from tasks.tracking import log_figure

HISTORY_SHOWN = 5  # horizons of history drawn before a forecast
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c564b",
    "#999999",
)  # Okabe-Ito


@task
def report(dataset: Dataset, evaluation: Evaluation, selection: Selection | None, chosen: str, parent: Run) -> None:
    """Draw the figures of a run and log them."""
    folder = open_checked(evaluation.folder)
    forecasts, scores = pl.read_parquet(folder / "forecasts.parquet"), pl.read_parquet(folder / "scores.parquet")
    history = pl.read_parquet(dataset.data)
    if selection is not None:
        log_figure(parent, learning_curves(selection), "learning_curves.png")
    log_figure(parent, fan_charts(history, forecasts, scores, chosen), "fan_charts.png")
    log_figure(parent, error_by_step(forecasts, scores), "error_by_step.png")
    log_figure(parent, calibration_chart(forecasts), "calibration.png")


def learning_curves(selection: Selection) -> Figure:
    """Validation loss of every candidate that was trained, over its steps; the untrained ones as lines."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, contender in zip(COLOURS, selection.contenders, strict=False):
        name = contender.model.strategy
        if contender.history:
            steps, _, validation = zip(*contender.history, strict=True)
            axes.plot(steps, validation, marker="o", markersize=3, color=colour, label=name)
        else:
            axes.axhline(contender.validation_loss, color=colour, linestyle="--", label=name)
    axes.set(
        xlabel="step", ylabel="validation loss (scaled space)", title=f"Fine-tuning: {selection.chosen} was chosen"
    )
    axes.legend()
    return figure


def fan_charts(history: pl.DataFrame, forecasts: pl.DataFrame, scores: pl.DataFrame, model: str) -> Figure:
    """The chosen model at the last cutoff of its best, median and worst series by MASE."""
    own = scores.filter((pl.col("model") == model) & pl.col("MASE").is_not_null())
    latest = own.filter(pl.col("cutoff") == pl.col("cutoff").max().over("unique_id")).sort("MASE", "unique_id")
    figure = Figure(figsize=(7, 9), layout="constrained")
    picks = [("best", 0), ("median", latest.height // 2), ("worst", latest.height - 1)] if latest.height else []
    for axes, (title, place) in zip(figure.subplots(3, 1), picks, strict=False):
        row = latest.row(place, named=True)
        one = (pl.col("unique_id") == row["unique_id"]) & (pl.col("cutoff") == row["cutoff"])
        ahead = forecasts.filter((pl.col("model") == model) & one).sort("step")
        past = history.filter((pl.col("unique_id") == row["unique_id"]) & (pl.col("ds") <= row["cutoff"]))
        draw_fan(axes, past.tail(HISTORY_SHOWN * ahead.height), ahead)
        axes.set_title(f"{title}: {row['unique_id']}, MASE {row['MASE']:.3f}")
    return figure


def draw_fan(axes: Axes, past: pl.DataFrame, ahead: pl.DataFrame) -> None:
    """History, truth, median and the bands between opposite deciles."""
    axes.plot(past["ds"], past["y"], color="#444444", linewidth=1, label="history")
    for low, high, shade in (("0.1", "0.9", 0.18), ("0.2", "0.8", 0.22), ("0.3", "0.7", 0.28), ("0.4", "0.6", 0.34)):
        axes.fill_between(ahead["ds"], ahead[low], ahead[high], color=COLOURS[0], alpha=shade, linewidth=0)
    axes.plot(ahead["ds"], ahead["0.5"], color=COLOURS[0], label="median; bands: opposite deciles")
    axes.plot(ahead["ds"], ahead["y"], color=COLOURS[1], marker=".", label="truth")
    axes.legend(fontsize=8)


def error_by_step(forecasts: pl.DataFrame, scores: pl.DataFrame) -> Figure:
    """MASE of every model against the distance ahead."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, name in zip(COLOURS, forecasts["model"].unique(maintain_order=True), strict=False):
        own = pl.col("model") == name
        steps = per_step(forecasts.filter(own), scores.filter(own))
        axes.plot(steps["step"], steps["MASE"], marker=".", color=colour, label=name)
    axes.set(xlabel="steps ahead", ylabel="MASE", title="Error by horizon step")
    axes.legend(fontsize=8)
    return figure


def calibration_chart(forecasts: pl.DataFrame) -> Figure:
    """Share of truths under each decile; the diagonal is calibrated."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for colour, name in zip(COLOURS, forecasts["model"].unique(maintain_order=True), strict=False):
        shares = calibration(forecasts.filter(pl.col("model") == name))
        axes.plot(QUANTILES, shares, marker=".", color=colour, label=name)
    axes.set(xlabel="decile", ylabel="share of truths at or below it", title="Calibration", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8)
    return figure


def print_table(evaluation: Evaluation, title: str, chosen: str | None) -> None:
    """The backtest in the terminal, the best MASE first; the chosen model is marked."""
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    for metric in METRICS:
        table.add_column(metric, justify="right")
    for name, row in ranked(evaluation.table):
        cells = [f"{row[metric]:.4g}" if metric in row else "" for metric in METRICS]
        marked = name == chosen
        table.add_row(f"{name} (chosen)" if marked else name, *cells, style="bold" if marked else "")
    Console(width=None if sys.stdout.isatty() else 110).print(table)
