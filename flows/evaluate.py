"""Evaluation alone: a model that is already there, beside the baselines."""

from prefect import flow

from flows.stages import prepare
from tasks.checks import check_windows
from tasks.config import BASE, BacktestConfig, TrackingConfig, WindowConfig
from tasks.evaluate import backtest_models
from tasks.handles import Outcome
from tasks.metrics import backtest_metrics
from tasks.page import Findings
from tasks.pretrain import start_from
from tasks.receipt import close_receipt, open_receipt
from tasks.report import report
from tasks.series_config import TargetConfig
from tasks.tracking import log_metrics, set_tags, tracked


@flow(name="evaluate")
def evaluate(
    model: str = BASE,
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    backtest: BacktestConfig = BacktestConfig(),
    tracking: TrackingConfig = TrackingConfig(),
) -> Outcome:
    """Backtest a model and the baselines on the same windows.

    Args:
        model: what to score: base, a model folder, an MLflow address (models:/, runs:/) or a run id
        target: your series
        window: how series are cut into windows
        backtest: the test
        tracking: where runs are logged
    """
    target = target.resolved()
    sections = {"model": model, "target": target, "window": window, "backtest": backtest, "tracking": tracking}
    with tracked(tracking, target.name, f"{target.name} h{window.horizon} evaluate", sections) as run:
        receipt = open_receipt(sections, run)
        scored = start_from(model, tracking)
        check_windows(window, scored.context)
        validated, windows = prepare(target, window, backtest, scored.context, run)
        evaluation = backtest_models(validated.dataset, windows, (scored,), backtest, run)
        figures = backtest_metrics(evaluation.table[scored.strategy])
        log_metrics(run, figures | evaluation.calibration.get(scored.strategy, {}))
        set_tags(run, {"carryover.chosen": scored.strategy})
        findings = Findings(
            run=run,
            command="evaluate",
            sections=sections,
            base=scored,
            validated=validated,
            windows=windows,
            model=scored,
            evaluation=evaluation,
        )
        report(findings)
        close_receipt(receipt, findings, run)
    return Outcome(
        run=run, data=validated.dataset.fingerprint, account=validated.account, evaluation=evaluation, model=scored
    )
