"""Which of two backtested models is better, by how much, and where the difference comes from."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.table import Table

from rnn_model.config import Section
from rnn_model.errors import ConfigError
from tasks.archive import fetch_folder, recall
from tasks.checks import changed
from tasks.config import BacktestConfig, JudgingConfig, TrackingConfig, WindowConfig, home
from tasks.connection import is_run_id, whole_run_id
from tasks.handles import Effect, Run
from tasks.judgement import Evidence, certainty, gather, in_words, is_proven, obstacle, rows, sameness
from tasks.pairing import read_groups, read_scored
from tasks.progress import show_table
from tasks.series_config import TargetConfig
from tasks.step import step
from tasks.terminal import print_plainly
from tasks.tracking import describe, log_metrics, log_table, set_tags

Verdict = Literal["first is better", "second is better", "no difference that matters", "not enough evidence"]


ONE_BASELINE = BacktestConfig(baselines=("SeasonalNaive",))  # a comparison has no use for more


class Backtested(Section):
    """A model in a stored backtest."""

    run_id: str = Field(description="the run that holds the backtest")
    model: str = Field(description="its name there, e.g. full or SeasonalNaive")
    fingerprint: str = Field(description="of the evaluation")
    folder: Path
    asked: str | None = Field(None, description="the model's name as it was given, where it was no run's")

    @property
    def title(self) -> str:
        """What it is called where it stands beside another."""
        return self.asked or f"{self.model} of {self.run_id[:8]}"


class Comparison(Section):
    """What two models differ in. A gain is how much lower the second one's loss is."""

    run: Run = Field(description="the run that records it")
    first: str
    second: str
    metric: str
    verdict: Verdict
    sentence: str
    fingerprint: str
    effects: tuple[Effect, ...]


@step
def find_backtest(name: str, config: TrackingConfig) -> Backtested | None:
    """The backtest that a run (or its parent) holds, and which model of it is meant; None for what is no such run.

    Of a whole run the chosen model is meant, of a run under it (a candidate, a baseline) that one. The beginning of a
    run's id will do, unless there is a folder of that name.
    """
    name = name if Path(name).is_dir() else whole_run_id(name, config)
    if not is_run_id(name):
        return None
    own = recall(name, "", config)
    holder = recall(own.parent, "", config) if own.parent else own
    fingerprint = holder.tags.get("carryover.evaluation")
    model = own.model if own.parent else holder.tags.get("carryover.chosen")
    if fingerprint is None or model is None:
        return None
    here = home() / "backtests" / holder.run_id
    folder = here if here.is_dir() else fetch_folder(holder.run_id, "backtest", config)
    return Backtested(run_id=holder.run_id, model=model, fingerprint=fingerprint, folder=folder)


def check_idle(target: TargetConfig, window: WindowConfig, backtest: BacktestConfig) -> None:
    """Refuse options of a backtest where both models have one. Raises ConfigError."""
    sections = {"target": target, "window": window}
    idle = [f"{section}.{name}" for section, given in sections.items() for name in changed(given)]
    idle += [f"backtest.{name}" for name, usual in ONE_BASELINE if getattr(backtest, name) != usual]
    if idle:
        raise ConfigError(
            f"{', '.join(idle)} would change nothing, as both names are runs that hold a backtest; "
            "leave them out, or name models to be backtested"
        )


@step
def compare_models(first: Backtested, second: Backtested, config: JudgingConfig, run: Run) -> Comparison:
    """The difference on windows that both were scored on. Raises ConfigError where the windows, or the data, differ."""
    old, new = (read_scored(m.folder, m.model, m.fingerprint, m.title) for m in (first, second))
    groups = read_groups(first.folder)
    forward, backward = gather(old, new, groups, config), gather(new, old, groups, config)
    verdict = verdict_of(forward, backward, config)
    made = Comparison(
        run=run,
        first=first.title,
        second=second.title,
        metric=config.metric,
        verdict=verdict,
        sentence=sentence_of(verdict, backward if verdict == "first is better" else forward, config),
        fingerprint=first.fingerprint,
        effects=forward.effects,
    )
    log_table(run, made.model_dump(mode="json"), "comparison.json")
    if made.effects:
        whole = made.effects[0]
        log_metrics(run, {"compare/gain": whole.gain, "compare/low": whole.low, "compare/high": whole.high})
    set_tags(run, {"carryover.verdict": verdict, "carryover.evaluation": made.fingerprint})
    describe(run, made.sentence)
    show_table(table=rows(made.effects), key="comparison", description=made.sentence)
    return made


def verdict_of(forward: Evidence, backward: Evidence, config: JudgingConfig) -> Verdict:
    """From what the second has over the first, and the first over the second.

    Where the gate could not decide, nothing is said. Else one is better where its gain would do for the gate, and
    nothing differs where neither can gain what matters.
    """
    if obstacle(forward, config):
        return "not enough evidence"
    if sameness(forward.pairs, config):
        return "no difference that matters"
    ahead, behind = forward.effects[0], backward.effects[0]
    if is_proven(ahead, config):
        return "second is better"
    if is_proven(behind, config):
        return "first is better"
    return "no difference that matters" if max(ahead.high, behind.high) < config.min_effect else "not enough evidence"


def sentence_of(verdict: Verdict, found: Evidence, config: JudgingConfig) -> str:
    """The verdict with its figures, or with what stands in its way; `found`: the better one, or the second, ahead."""
    pairs = found.pairs
    lead = f"{pairs.challenger} is better" if verdict.endswith("is better") else verdict
    reason = obstacle(found, config) or sameness(pairs, config)
    if not reason:
        reason = f"{in_words(found.effects[0], pairs, config)} ({certainty(found.effects[0], config)})"
    named = verdict.endswith("is better")  # a name keeps its own letters
    return f"{lead if named else lead[0].upper() + lead[1:]}: {reason}."


def print_comparison(made: Comparison) -> None:
    """The effects in the terminal: over all, by segment, by step."""
    table = Table(title=f"{made.first} against {made.second}: gain of the second, {made.metric}", title_justify="left")
    names = {"champion": made.first, "challenger": made.second}
    table.add_column("part", no_wrap=True)
    for column in ("series", "windows", "champion", "challenger", "gain", "interval", "p"):
        table.add_column(names.get(column, column), justify="right")
    for row in rows(made.effects):
        table.add_row(*map(str, row.values()))
    print_plainly(table, 110)
