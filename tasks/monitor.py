"""The monitor stage: what a look at the logged forecasts gives, put into MLflow and Prefect, and an alarm told once."""

from typing import Any

import polars as pl

from rnn_model.errors import ConfigError
from tasks.accuracy import MEANING
from tasks.alarm import tell
from tasks.arrivals import known_at, on_trial
from tasks.config import MonitorConfig, TrackingConfig
from tasks.forecast_log import Batch, published
from tasks.handles import Dataset, Run, Validated
from tasks.labels import read_labels
from tasks.progress import show_note, show_table
from tasks.promise import Promise, fetch_promise
from tasks.segments import KINDS, segments
from tasks.series_config import TargetConfig
from tasks.step import step
from tasks.tracking import describe, log_metrics, log_table, set_tags
from tasks.watch import COVERS, HALF, WAITING, Monitored, Seen, Trial, assess, check_alike, look


@step
def monitor_forecasts(
    raw: Dataset, truth: Validated, target: TargetConfig, config: MonitorConfig, tracking: TrackingConfig, run: Run
) -> Monitored:
    """Hold every logged forecast of a target against the truth, log what is found, and tell Prefect of a new alarm.

    Figures are logged before Prefect is told, so that they stand whatever becomes of the event. A look back as of an
    earlier time tells nobody: the event would start a nightly run today.
    """
    batches = known_at(published(target.title), target.as_of, raw.timezone)
    trial = None
    if batches:
        check_alike(on_trial(batches), truth.dataset)
        seen, promise = look(batches, raw, truth), promise_of(on_trial(batches), tracking)
        found, trial = assess(target.title, seen, promise, groups_of(seen, truth), config)
    else:
        words = f"{target.title}: {WAITING}: none is in the log; carryover forecast --model champion begins it."
        found = Monitored(target=target.title, outcome=WAITING, sentence=words, threshold=1 / (HALF * config.level))
    log(found, trial, run)
    show(found)
    if not found.alarms:
        return found
    if target.as_of is not None:
        return found.model_copy(update={"told": "looked back"})
    told = tell(on_trial(batches).target, name_alarm(on_trial(batches), found), payload_of(found), run)
    return found.model_copy(update={"told": told})


def promise_of(batch: Batch, tracking: TrackingConfig) -> Promise | str:
    """What the maker of a batch was promised to be like, or why nothing was."""
    if batch.version is None:
        return "it is no version of a registered model; carryover forecast --model champion forecasts by one"
    try:
        return fetch_promise(batch.model, tracking)
    except ConfigError as error:
        return str(error)


def groups_of(seen: Seen, truth: Validated) -> pl.DataFrame:
    """The segments of the series as they are now, for where no promise brings its own."""
    rows = pl.read_parquet(truth.dataset.data).select("unique_id", "ds", "y")
    return segments(rows, seen.joined.select("unique_id", "cutoff"), KINDS, read_labels(truth.dataset))


def name_alarm(batch: Batch, found: Monitored) -> str:
    """What the last alarm is known by: target, version, weights and the last time of its round.

    Not its number: values that come late can take an earlier alarm away, and the next one would pass for told.
    """
    return f"{batch.target} {batch.version} {batch.weights[:12]} {found.alarms[-1]}"


def payload_of(found: Monitored) -> dict[str, Any]:
    """What the event says."""
    return found.model_dump(
        include={"target", "model", "outcome", "sentence", "ratio", "bound", "e_value", "threshold", "rounds", "alarms"}
    )


def log(found: Monitored, trial: Trial | None, run: Run) -> None:
    """Metrics, tables, tags and the description of the run."""
    both = {"realised": found.realised, "promised": found.promised}
    metrics = {f"{which}/{name}": value for which, row in both.items() for name, value in row.items()}
    metrics |= {
        f"monitor/{name}": getattr(found, name) for name in ("e_value", "threshold", "ratio", "bound", "rounds")
    }
    metrics |= {"monitor/alarms": len(found.alarms), "monitor/forecasts": found.account.get("scored", 0)}
    log_metrics(run, {name: value for name, value in metrics.items() if value is not None})
    log_table(run, {"parts": list(found.table), "makers": list(found.makers)}, "monitor/accuracy.json")
    log_table(run, {"definitions": MEANING}, "metric_definitions.json")
    if trial is not None:
        capital = pl.Series("e_value", trial.course.capital or [None] * trial.rounds.height, pl.Float64)
        rounds = trial.rounds.with_columns(capital).to_dicts()
        log_table(run, {"rounds": rounds, "account": found.account}, "monitor/rounds.json")
    set_tags(run, {"carryover.outcome": found.outcome, "carryover.monitored": found.model or "nothing"})
    describe(run, markdown(found))


def show(found: Monitored) -> None:
    """The table and the words on the flow run's page."""
    if found.table:
        rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in found.table]
        show_table(table=rows, key="realised", description=f"accuracy, realised and promised, {COVERS}")
    show_note(markdown(found), key="monitor", description=f"{found.target}: {found.outcome}")


def markdown(found: Monitored) -> str:
    """The outcome, the figures and the account."""
    lines = ["| | " + " | ".join(found.realised) + " |", "|---" * (1 + len(found.realised)) + "|"]
    for title, row in found.figures.items():
        lines.append(f"| {title} | " + " | ".join(shown(row.get(name)) for name in found.realised) + " |")
    table = "\n".join(lines) if found.figures else ""
    account = f"Forecasts: {found.counts}." if found.counts else ""
    return "\n\n".join(part for part in (found.sentence, found.heading, table, account) if part)


def shown(value: float | None) -> str:
    """A figure, or nothing."""
    return "" if value is None else f"{value:.4g}"
