"""What a command prints when it is done."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.stages import verdict
from rnn_model.artefact import write_file
from rnn_model.private import as_the_user_asks
from tasks.backfill import Backfill, print_backfill
from tasks.baselines import MODELS
from tasks.compare import Comparison, print_comparison
from tasks.handles import Forecast, Model, Outcome, Promotion
from tasks.leaderboard import Leaderboard, print_board
from tasks.metrics import ranked
from tasks.provenance import as_options
from tasks.replay import Replay, print_replay
from tasks.report import print_table, report_path
from tasks.series_config import TargetConfig
from tasks.sweep import Sweep, print_sweep
from tasks.sync import Synced, told
from tasks.terminal import counted, figure, say
from tasks.tracking import finite, page
from tasks.watch import Monitored

LEGEND = (
    "(SQL: loss of all deciles in units of the naive error, lower is better. p: how often chance alone gains as much. "
    "Floors: coverage and the worst segment; docs/gate.md.)"
)


def show(result: Any, parameters: dict[str, Any], summary: Path | None) -> None:
    """What a person wants to see when a command is done."""
    if isinstance(result, Outcome):
        show_outcome(result, parameters["target"].resolved(), parameters["model"])
    elif isinstance(result, Monitored):
        show_monitored(result, parameters["target"].resolved())
    elif type(result) in SHOWN:
        SHOWN[type(result)](result)
    if summary is not None:
        text = json.dumps(finite(result.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"
        with as_the_user_asks():
            write_file(summary, text.encode())
        say(f"summary: {summary}")


def show_model(result: Model) -> None:
    """Where a pretrained model is, and what goes on from it."""
    say(f"model: {result.folder}")
    say(f"use it: carryover finetune --model {result.folder} --target.path FILE --target.freq FREQ")


def show_outcome(result: Outcome, target: TargetConfig, model: Any) -> None:
    """The table, why the model was chosen, where the report is, and the two commands that go on from here."""
    if result.repeated:
        say(
            f"nothing to do: run {result.run.run_id} finished with the same data, settings and code on "
            f"{result.finished} (--force makes a new one). What it gave then:"
        )
    account = result.account
    aside = ", ".join(f"{rows} {rule}" for rule, rows in account.quarantined.items()) or "none"
    later = f"; {account.later} later than {target.as_of} left out" if account.later else ""
    say(
        f"\n{target.name}: {account.series_used} of {account.series_in} series; rows {account.rows_in} = "
        f"{account.used + account.padded} used ({account.padded} with padding) + quarantined ({aside}); "
        f"{account.added} added to the grid{later}"
    )
    for note in (*account.notes, *(result.evaluation.notes if result.evaluation else ())):
        say(f"Mind: {note}")
    if result.evaluation is not None:
        title = f"Backtest: {counted(result.evaluation.windows, 'window')}, horizon {result.evaluation.horizon}"
        print_table(result.evaluation, title, result.selection.chosen if result.selection else None)
        print_better_baseline(result)
    if result.selection is not None:
        say(f"Chosen on the validation windows: {result.selection.reason}")
    if result.decision is not None:
        say(verdict(result.decision))
        say(LEGEND)
    if result.promotion is not None:
        show_promotion(result.promotion)
    say()
    if result.evaluation is not None:
        say(f"Read the report:    {report_path(result.run)}")
    store = result.run.uri
    say(
        f"Look at the runs:   {program('mlflow')} ui --backend-store-uri {store} --host 127.0.0.1   then open "
        f"{page(result.run)}"
        if not store.startswith("http")
        else f"Look at the runs:   {page(result.run)}"
    )
    horizon = {"window": {"horizon": result.evaluation.horizon}} if result.evaluation else {}
    options = {"model": result.model_uri or str(model)} | horizon | {"output": "forecast.parquet"}
    say(f"Make a forecast:    {program('carryover')} forecast {as_options(options | named(target))}")


def show_forecast(result: Forecast) -> None:
    """Who forecast how far, by which paths series were answered, and where that is; on stderr what was left out."""
    paths = ", ".join(f"{count} {path}" for path, count in result.paths.items())
    asked = sum(result.paths.values())
    answered = f"{result.series} of {asked}" if result.series < asked else f"{asked}"
    say(f"{result.target}: {answered} series, {counted(result.horizon, 'step')} by {result.model} ({paths})")
    for note in result.notes:
        say(f"Mind: {note}")
    say(result.sentence)
    if result.output is not None:
        say(f"{counted(result.rows, 'row')} written to {result.output}")
    for series, rule in result.left_out.items():
        say(f"the network did not forecast {series}: {rule}", error=True)


def print_better_baseline(result: Outcome) -> None:
    """That a statistical model is ahead of the chosen one, where one is: a table is easily read from its bold line."""
    assert result.evaluation is not None
    table, chosen = result.evaluation.table, result.model.strategy
    first = next(iter(ranked(table)))[0]
    if chosen in table and first in MODELS:
        ahead, behind = (f"{table[name]['MASE']:.4g}" for name in (first, chosen))
        say(f"Mind: {first} has a lower MASE on these windows than {chosen}, {ahead} to {behind}")


def show_promotion(result: Promotion) -> None:
    """What became of the champion, in one line."""
    before, now = (f"version {v}" if v is not None else "none" for v in (result.previous, result.version))
    say(f"models:/{result.name}@champion: {before} -> {now} ({result.result})")


def show_rollback(result: Promotion) -> None:
    """What became of the champion, and why; on stderr what the gate had against it."""
    if result.warning:
        say(f"Mind: {result.warning}", error=True)
    show_promotion(result)
    say(result.sentence)


def show_comparison(result: Comparison) -> None:
    """Every part of the comparison, and what it says."""
    print_comparison(result)
    say(result.sentence)


def show_backfill(result: Backfill) -> None:
    """The days, and the errors in full; the same command goes on from there."""
    print_backfill(result)
    for day in result.days:
        if day.code:
            say(f"carryover: as of {day.as_of}: {day.error}", error=True)
    if result.left:
        say(f"carryover: {len(result.left)} left, from {result.left[0]}; the same command goes on", error=True)


def show_sweep(result: Sweep) -> None:
    """The units, and the errors with where more stands."""
    print_sweep(result)
    for unit in result.units:
        if unit.code:
            say(f"carryover: {unit.unit}: {unit.error} (log: {unit.log})", error=True)


def show_monitored(result: Monitored, target: TargetConfig) -> None:
    """Realised beside promised, the verdict, and after an alarm what was done about it or is to be done."""
    if result.heading:
        say(result.heading)
    for name in result.realised if result.figures else ():
        cells = [f"{title} {figure(row.get(name)):>8}" for title, row in result.figures.items()]
        say(f"{name:<12} " + "   ".join(cells))
    if result.counts:
        say(f"Forecasts: {result.counts}")
    say(result.sentence)
    if result.told == "no server":
        again = f"{program('carryover')} run {as_options(named(target))}"
        say(f"No Prefect server is set, so nothing starts by itself: {again}")
    elif result.told == "looked back":
        say(f"A look back as of {target.as_of}: Prefect is not told, so nothing starts by itself")
    elif result.told:
        say(f"Prefect was told of the last alarm {'just now' if result.told == 'now' else 'before'}")


def show_replay(result: Replay) -> None:
    """Every stage then and now, and the verdict as the last line."""
    print_replay(result)
    for line in result.changed:
        say(f"Different now: {line}")
    say(f"Verdict: {result.verdict}")


def named(target: TargetConfig) -> dict[str, Any]:
    """The options that lead to a target again."""
    return {"target": target.model_dump(mode="json", exclude_defaults=True, exclude={"max_quarantined"})}


def program(name: str) -> str:
    """How to call a program of this environment: by its name where the shell finds it, else by its path."""
    beside = Path(sys.executable).parent / name
    return name if shutil.which(name) or not beside.is_file() else os.path.relpath(beside)


SHOWN: dict[type, Callable[[Any], None]] = {
    Forecast: show_forecast,
    Model: show_model,
    Promotion: show_rollback,
    Comparison: show_comparison,
    Leaderboard: print_board,
    Backfill: show_backfill,
    Sweep: show_sweep,
    Replay: show_replay,
    Synced: lambda result: say(told(result)),
}
