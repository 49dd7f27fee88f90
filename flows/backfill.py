"""The whole chain, day after day: every day as it would have been run then."""

from typing import Any

from flows.definition import flow
from flows.intake import done_before
from flows.pipeline import pipeline
from rnn_model.config import ModelConfig
from rnn_model.errors import CarryoverError
from tasks.backfill import Backfill, Day, OnError, Step, day_of, known_then, moments, summarise
from tasks.config import (
    BacktestConfig,
    FinetuneConfig,
    GateConfig,
    PretrainConfig,
    Seed,
    TrackingConfig,
    WindowConfig,
)
from tasks.series_config import SourceConfig, TargetConfig


@flow(name="backfill")
def backfill(
    from_: str,
    to: str,
    every: Step | None = None,
    on_error: OnError = "stop",
    source: SourceConfig = SourceConfig(),
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    model: ModelConfig = ModelConfig(),
    pretrain: PretrainConfig = PretrainConfig(),
    finetune: FinetuneConfig = FinetuneConfig(),
    backtest: BacktestConfig = BacktestConfig(),
    gate: GateConfig = GateConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
    force: bool = False,
) -> Backfill:
    """Run the whole chain for every day of a range, in order, each day with the rows that were known then.

    Args:
        from_: first time, ISO 8601; a date is its midnight
        to: last time, included
        every: d, w, mo, q or y; none: a day, or the step of a target whose step is longer
        on_error: whether later days go on after one that failed
        source: what a network is pretrained on that starts from nothing; a real one is taken as of each day, too
        target: your series; as_of is set by the range
        window: how series are cut into windows
        model: the network that starts from nothing
        pretrain: where the network comes from, and its pretraining
        finetune: carrying over to the target
        backtest: the test
        gate: what a model has to show before it becomes the champion
        tracking: where runs are logged
        seed: every random number follows from it
        force: run days again that have finished with the same data, settings and code
    """
    target = target.resolved()
    sections: dict[str, Any] = {"window": window, "model": model, "pretrain": pretrain, "finetune": finetune}
    sections |= {"backtest": backtest, "gate": gate, "tracking": tracking, "seed": seed, "force": force}
    wanted, days = moments(from_, to, every, str(target.freq)), list[Day]()
    for as_of in wanted:
        then = {"source": known_then(source, as_of), "target": target.model_copy(update={"as_of": as_of})}
        days.append(run_day(as_of, sections | then))
        if days[-1].code and on_error == "stop":
            break
    return summarise(tuple(days), wanted)


def run_day(as_of: str, parameters: dict[str, Any]) -> Day:
    """The pipeline as of a time, unless that has finished; a failure with a known cause becomes the day's line."""
    try:
        return day_of(as_of, done_before("run", parameters) or pipeline(**parameters))
    except CarryoverError as error:
        return Day(as_of=as_of, error=str(error), code=error.exit_code)
