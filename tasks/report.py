"""What a person reads of a run: its page, its figures and description in MLflow, and the table in the terminal."""

from pathlib import Path

import polars as pl
from rich.table import Table

from rnn_model.artefact import open_checked, write_file
from tasks.config import home
from tasks.figures import calibration_chart, error_by_step, fan_charts, learning_curves
from tasks.handles import Evaluation, Run
from tasks.metrics import METRICS, ranked
from tasks.page import Findings, Material, render
from tasks.step import step
from tasks.terminal import print_plainly
from tasks.tracking import log_figure, log_text, page, preface

PAGE = "report.html"


@step
def report(findings: Findings) -> Path:
    """Write the page of a run, log it with the figures, and put the result in words before the run's description."""
    material, run = read_material(findings), findings.run
    path = report_path(run)
    text = render(findings, material)
    write_file(path, text.encode())
    log_text(run, text, PAGE)
    log_figures(findings, material)
    preface(run, description(findings))
    return path


def report_path(run: Run) -> Path:
    """Where the page of a run stands on this machine."""
    return home() / "reports" / f"{run.run_id}.html"


def read_material(findings: Findings) -> Material:
    """The frames behind a report, checked."""
    data, backtest = open_checked(findings.validated.dataset.folder), open_checked(findings.evaluation.folder)
    return Material(
        history=pl.read_parquet(data / "data.parquet"),
        forecasts=pl.read_parquet(backtest / "forecasts.parquet"),
        scores=pl.read_parquet(backtest / "scores.parquet"),
        quarantine=pl.read_parquet(data / "quarantine.parquet"),
    )


def log_figures(findings: Findings, material: Material) -> None:
    """The same figures as images, which MLflow lays side by side for several runs."""
    run, chosen = findings.run, findings.model.strategy
    forecasts, scores = material.forecasts, material.scores
    if findings.selection is not None:
        log_figure(run, learning_curves(findings.selection), "learning_curves.png")
    log_figure(run, fan_charts(material.history, forecasts, scores, chosen), "fan_charts.png")
    log_figure(run, error_by_step(forecasts, scores, chosen), "error_by_step.png")
    log_figure(run, calibration_chart(forecasts, chosen), "calibration.png")


def description(findings: Findings) -> str:
    """The result as Markdown: what was decided, what was chosen and why, and where the whole report is."""
    decision, selection = findings.decision, findings.selection
    lines = [f"**The gate:** {decision.sentence}"] if decision else []
    if selection is not None:
        lines.append(f"Chosen on the validation windows: {selection.reason}.")
    return "\n\n".join([*lines, f"[The whole report]({page(findings.run)}/artifacts/{PAGE})"])


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
    print_plainly(table, 110)
