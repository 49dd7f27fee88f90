"""Two runs, or two models, side by side: which is better, by how much, and where."""

from flows.definition import flow
from flows.evaluate import evaluate
from tasks.compare import ONE_BASELINE, Backtested, Comparison, check_idle, compare_models, find_backtest
from tasks.config import BacktestConfig, JudgingConfig, TrackingConfig, WindowConfig
from tasks.series_config import TargetConfig
from tasks.tracking import tracked


@flow(name="compare")
def compare(
    first: str,
    second: str,
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    backtest: BacktestConfig = ONE_BASELINE,
    gate: JudgingConfig = JudgingConfig(),
    tracking: TrackingConfig = TrackingConfig(),
) -> Comparison:
    """Say which of two runs or models is better, by how much, and where the difference comes from.

    Args:
        first: a run with a backtest (a whole run: its chosen model), or a model, which is backtested on the target
        second: the other one
        target: your series, for models; not with two runs
        window: how series are cut into windows, for models; not with two runs
        backtest: the test, for models; not with two runs
        gate: metric, level, smallest effect that matters, and segments
        tracking: where the runs are, and where the comparison is logged
    """

    def backtested(name: str) -> Backtested:
        scored = evaluate(model=name, target=target, window=window, backtest=backtest, tracking=tracking)
        found = find_backtest(scored.run.run_id, tracking)
        assert found is not None, "an evaluation leaves a backtest behind"
        return found.model_copy(update={"asked": name})

    old, new = find_backtest(first, tracking), find_backtest(second, tracking)
    if old and new:
        check_idle(target, window, backtest)
    sections = {"first": first, "second": second, "target": target, "window": window}
    sections |= {"backtest": backtest, "gate": gate, "tracking": tracking}
    with tracked(tracking, "compare", f"{first} against {second}", sections) as run:
        return compare_models(old or backtested(first), new or backtested(second), gate, run)
