"""Several data sets scored the same way: which there are in a folder, and how models stand over all of them."""

import math
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError
from rich.table import Table

from rnn_model.config import HORIZON_LIMIT, Section
from rnn_model.errors import ConfigError, DataError
from rnn_model.json_file import read_json
from tasks.config import as_value_error
from tasks.frequency import parse_frequency
from tasks.handles import Outcome, Run
from tasks.metrics import ranked
from tasks.progress import show_table
from tasks.series_config import TargetConfig
from tasks.step import step
from tasks.terminal import print_plainly
from tasks.tracking import log_metrics, log_table

INDEX = "datasets.json"
CHOSEN = "chosen"  # whichever candidate the validation windows chose
COLUMNS = ("MASE", "WQL", "coverage_80")
RELATIVE = ("MASE", "WQL")  # those that are also shown over SeasonalNaive's


def known_freq(freq: str) -> str:
    """`freq`, if it is one. Raises ValueError, which is what pydantic reports with the field's name."""
    as_value_error(parse_frequency, freq)
    return freq


class BenchmarkSet(Section):
    """One data set of a benchmark: a long Parquet file beside the index, whose last `horizon` rows are the test."""

    freq: Annotated[str, AfterValidator(known_freq)] = Field(description="time between rows")
    season: int = Field(ge=1, description="steps of one season, as the metrics use it")
    horizon: int = Field(ge=1, le=HORIZON_LIMIT, description="steps to forecast")

    def target(self, path: Path) -> TargetConfig:
        """The set as a pipeline's target; no series is left out for being short, or for an end of its own."""
        season = None if parse_frequency(self.freq).season == self.season else self.season
        return TargetConfig(path=str(path), freq=self.freq, season=season, max_quarantined=1.0, ended="keep")


class Leaderboard(Section):
    """Every model on every set, by run; and over all sets the geometric mean of MASE and WQL over SeasonalNaive's."""

    run: Run
    sets: dict[str, Outcome]
    scores: dict[str, dict[str, dict[str, float]]] = Field(description="set -> model -> metric")
    overall: dict[str, dict[str, float]] = Field(description="model -> metric, relative to SeasonalNaive")


def read_sets(folder: Path, wanted: tuple[str, ...]) -> dict[str, BenchmarkSet]:
    """The wanted sets of datasets.json, or all. Raises ConfigError for an unknown one, DataError for no index."""
    try:
        listed = read_json(folder / INDEX)
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
    chosen = {name: about for name, about in known.items() if not wanted or name in wanted}
    absent = [f"{name}.parquet" for name in chosen if not (folder / f"{name}.parquet").is_file()]
    if absent:
        raise DataError(
            f"{folder}: {', '.join(absent)} not there; put the files beside {INDEX}, or name others as sets"
        )
    return chosen


@step
def rank(outcomes: dict[str, Outcome], run: Run) -> Leaderboard:
    """All outcomes side by side, logged to `run` and shown as an artifact."""
    scores = {name: scores_of(outcome) for name, outcome in outcomes.items()}
    board = Leaderboard(run=run, sets=outcomes, scores=scores, overall=overall(scores))
    log_table(run, {"scores": scores, "overall": board.overall}, "leaderboard.json")
    log_metrics(run, {f"{model}/{name}": value for model, row in board.overall.items() for name, value in row.items()})
    table = [
        {"model": model} | {name: round(value, 4) for name, value in row.items()}
        for model, row in ranked(board.overall)
    ]
    show_table(table=table, key="leaderboard", description="geometric means over all sets, relative to SeasonalNaive")
    return board


def scores_of(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Model -> metric of one set, with the chosen candidate once more under that name."""
    if outcome.evaluation is None or outcome.selection is None:
        return {}
    table = {name: {metric: row[metric] for metric in COLUMNS} for name, row in outcome.evaluation.table.items()}
    return table | {CHOSEN: table[outcome.selection.chosen]}


def overall(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Geometric means of MASE and WQL relative to SeasonalNaive, for the models that stand on every set.

    A set on which either score is 0 or unknown has no ratio and does not count.
    """
    shared = set.intersection(*(set(rows) for rows in scores.values())) if scores else set()
    if "SeasonalNaive" not in shared:
        return {}

    def mean(model: str, metric: str) -> float:
        pairs = [(rows[model][metric], rows["SeasonalNaive"][metric]) for rows in scores.values()]
        logs = [math.log(own / naive) for own, naive in pairs if own > 0 and naive > 0]
        return math.exp(sum(logs) / len(logs)) if logs else math.nan

    return {model: {metric: mean(model, metric) for metric in RELATIVE} for model in sorted(shared)}


def print_board(board: Leaderboard) -> None:
    """MASE and WQL of every model on every set, and the geometric means over SeasonalNaive, in the terminal."""
    models = [name for name, _ in ranked(board.overall)]
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
        print_plainly(table, 160)
