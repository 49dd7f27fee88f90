"""Evaluation alone: a model that is already there, beside the baselines."""

from flows.definition import flow
from flows.intake import take_in
from flows.stages import conclude, figures, prepare
from tasks.checks import check_windows
from tasks.config import BASE, BacktestConfig, TrackingConfig, WindowConfig
from tasks.evaluate import backtest_models
from tasks.finished import keep_outcome, once
from tasks.handles import Outcome
from tasks.page import Findings
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
    force: bool = False,
) -> Outcome:
    """Backtest a model and the baselines on the same windows.

    Args:
        model: what to score: base, a model folder, an MLflow address (models:/, runs:/) or a run id
        target: your series
        window: how series are cut into windows
        backtest: the test
        tracking: where runs are logged
        force: run again what has finished with the same data, settings and code
    """
    target = target.resolved()
    sections = {"model": model, "target": target, "window": window, "backtest": backtest, "tracking": tracking}
    given = take_in("evaluate", sections)
    scored = given.start
    assert scored is not None  # only a pipeline starts from nothing
    check_windows(window, scored.context)
    with once(given.work, tracking, force) as earlier:
        if earlier is not None:
            return earlier
        with tracked(tracking, target.name, f"{target.name} h{window.horizon} evaluate", sections) as run:
            receipt = open_receipt(sections, run)
            validated, windows = prepare(given.raw, target, window, backtest, scored.context, run)
            evaluation = backtest_models(validated.dataset, windows, (scored,), backtest, run)
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
            log_metrics(run, figures(findings))
            set_tags(run, {"carryover.chosen": scored.strategy})
            report(findings)
            close_receipt(receipt, findings, run)
        return keep_outcome(given.work, conclude(findings))
