"""Several data sets scored the same way: which there are in a folder, and how models stand over all of them."""

import json
import sys
from pathlib import Path

import numpy as np
from prefect import task
from pydantic import Field, ValidationError
from rich.console import Console
from rich.table import Table

from rnn_model.config import Section
from rnn_model.errors import ConfigError, DataError
from tasks.config import TargetConfig
from tasks.frequency import parse_frequency
from tasks.handles import Outcome, Run
from tasks.progress import show_table
from tasks.tracking import log_metrics, log_table

INDEX = "datasets.json"
CHOSEN = "chosen"  # whichever candidate the validation windows chose
COLUMNS = ("MASE", "WQL", "coverage_80")
RELATIVE = ("MASE", "WQL")  # those that are also shown over SeasonalNaive's


class BenchmarkSet(Section):
    """One data set of a benchmark: a long Parquet file beside the index, whose last `horizon` rows are the test."""

    freq: str = Field(description="time between rows")
    season: int = Field(ge=1, description="steps of one season, as the metrics use it")
    horizon: int = Field(ge=1, description="steps to forecast")

    def target(self, path: Path) -> TargetConfig:
        """The set as a pipeline's target; no series is left out for being short."""
        season = None if parse_frequency(self.freq).season == self.season else self.season
        return TargetConfig(path=str(path), freq=self.freq, season=season, max_quarantined=1.0)


class Leaderboard(Section):
    """Every model on every set, by run; and over all sets the geometric mean of MASE and WQL over SeasonalNaive's."""

    run: Run
    sets: dict[str, Outcome]
    scores: dict[str, dict[str, dict[str, float]]] = Field(description="set -> model -> metric")
    overall: dict[str, dict[str, float]] = Field(description="model -> metric, relative to SeasonalNaive")


def read_sets(folder: Path, wanted: tuple[str, ...]) -> dict[str, BenchmarkSet]:
    """The wanted sets of datasets.json, or all. Raises ConfigError for an unknown one, DataError for no index."""
    try:
        listed = json.loads((folder / INDEX).read_text())
        kept = ("freq", "season", "horizon")
        known = {name: BenchmarkSet(**{key: about[key] for key in kept}) for name, about in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(
            f"{folder / INDEX}: not a list of data sets ({str(error).splitlines()[0]}); expected "
            '{"name": {"freq": "MS", "season": 12, "horizon": 18}, ...} beside one Parquet file for each name'
        ) from error
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigError(f"sets {', '.join(unknown)} are not in {folder / INDEX}; it has {', '.join(known)}")
    return {name: about for name, about in known.items() if not wanted or name in wanted}


@task
def rank(outcomes: dict[str, Outcome], run: Run) -> Leaderboard:
    """All outcomes side by side, logged to `run` and shown as an artifact."""
    scores = {name: scores_of(outcome) for name, outcome in outcomes.items()}
    board = Leaderboard(run=run, sets=outcomes, scores=scores, overall=overall(scores))
    log_table(run, {"scores": scores, "overall": board.overall}, "leaderboard.json")
    log_metrics(run, {f"{model}/{name}": value for model, row in board.overall.items() for name, value in row.items()})
    table = [{"model": model} | {name: round(value, 4) for name, value in row.items()} for model, row in ranked(board)]
    show_table(table=table, key="leaderboard", description="geometric means over all sets, relative to SeasonalNaive")
    return board


def scores_of(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Model -> metric of one set, with the chosen candidate once more under that name."""
    if outcome.evaluation is None or outcome.selection is None:
        return {}
    table = {name: {metric: row[metric] for metric in COLUMNS} for name, row in outcome.evaluation.table.items()}
    return table | {CHOSEN: table[outcome.selection.chosen]}


def overall(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Geometric means of MASE and WQL relative to SeasonalNaive, over the models that stand on every set."""
    shared = set.intersection(*(set(rows) for rows in scores.values())) if scores else set()
    if "SeasonalNaive" not in shared:
        return {}

    def mean(model: str, metric: str) -> float:
        ratios = [rows[model][metric] / rows["SeasonalNaive"][metric] for rows in scores.values()]
        return float(np.exp(np.mean(np.log(ratios))))

    return {model: {metric: mean(model, metric) for metric in RELATIVE} for model in sorted(shared)}


def print_board(board: Leaderboard) -> None:
    """MASE and WQL of every model on every set, and the geometric means over SeasonalNaive, in the terminal."""
    models = [name for name, _ in ranked(board)]
    models += sorted({model for rows in board.scores.values() for model in rows} - set(models))
    for metric in COLUMNS:
        table = Table(title=metric, title_justify="left")
        table.add_column("model", no_wrap=True)
        for name in (*board.scores, "relative") if metric in RELATIVE else board.scores:
            table.add_column(name, justify="right")
        for model in models:
            row = [rows.get(model, {}).get(metric) for rows in board.scores.values()]
            cells = [*row, board.overall.get(model, {}).get(metric)] if metric in RELATIVE else row
            table.add_row(model, *("" if value is None else f"{value:.4g}" for value in cells))
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def ranked(board: Leaderboard) -> list[tuple[str, dict[str, float]]]:
    """The overall rows, the best MASE first."""
    return sorted(board.overall.items(), key=lambda item: item[1]["MASE"])
