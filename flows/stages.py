"""Parts that several flows share: a target made ready, a corpus to pretrain on, and the trial of the contenders."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from prefect import get_run_logger

from tasks.champion import promote_model
from tasks.config import BacktestConfig, GateConfig, HorizonConfig, TrackingConfig, WindowConfig
from tasks.evaluate import backtest_models
from tasks.frequency import stated_periods
from tasks.gate import decide
from tasks.handles import (
    Corpus,
    Dataset,
    Decision,
    Evaluation,
    Outcome,
    Products,
    Promotion,
    Run,
    Standing,
    Validated,
    WindowSet,
)
from tasks.ingest import ingest
from tasks.metrics import backtest_metrics
from tasks.page import Findings
from tasks.pretrain import collect, synthesise
from tasks.registry import register_model
from tasks.report import report
from tasks.series_config import SourceConfig, TargetConfig
from tasks.standing import name_champion
from tasks.tracking import child, log_dataset
from tasks.validate import validate
from tasks.window import make_windows

ANEW = 2  # times that contenders are compared with a champion who came meanwhile


class Terms(NamedTuple):
    """On what a challenger is tried."""

    title: str  # of the target, and of its registered model
    backtest: BacktestConfig
    gate: GateConfig
    tracking: TrackingConfig


class Trial(NamedTuple):
    """Everyone on the same windows, and what the gate says of it."""

    standing: Standing
    evaluation: Evaluation
    decision: Decision


def prepare(
    raw: Dataset, target: TargetConfig, window: WindowConfig, backtest: BacktestConfig, context: int, run: Run
) -> tuple[Validated, WindowSet]:
    """Validate, log and window a target that was read."""
    validated = validate(raw, target, window.min_history + window.horizon, context)
    log_dataset(run, validated.dataset, "target")
    return validated, make_windows(validated.dataset, window, backtest)


def prepare_corpus(
    source: SourceConfig,
    window: HorizonConfig,
    context: int,
    target: Validated | None,
    seed: int,
    run: Run,
    read: Dataset | None = None,
) -> Corpus:
    """The synthetic corpus for the target's rhythm, or a real collection without the target's series.

    `read`: the collection, where it was read before: the run is known by what stood in it then.
    """
    known = target.dataset if target else None
    if not source.given:
        freq = source.freq or (known.freq if known else "")
        periods = known.periods if known and not source.season else stated_periods(freq, source.season)
        return synthesise(source.synthetic, freq, periods, context + 2 * window.horizon, seed)
    validated = validate(read or ingest(source, "source"), source, window.horizon + 1, context)
    log_dataset(run, validated.dataset, "source")
    return collect(validated.dataset, known)


def hold_trial(made: Products, terms: Terms, run: Run, place: Run) -> Trial:
    """The champion named, everyone backtested (logged to `place`), and the gate asked (logged to `run`)."""
    assert made.validated is not None
    assert made.windows is not None
    assert made.selection is not None
    data, windows, chosen = made.validated.dataset, made.windows, made.selection.chosen
    standing = name_champion(terms.title, data, windows, terms.gate, terms.tracking)
    contenders = (*(c.model for c in made.selection.contenders), *standing.models)
    evaluation = backtest_models(data, windows, contenders, terms.backtest, place)
    return Trial(standing, evaluation, decide(evaluation, chosen, standing, terms.gate, run))


def promote_chosen(
    findings: Findings, trial: Trial, terms: Terms, uri: str, key: str
) -> tuple[Findings, Promotion | None]:
    """Register the chosen model and promote it, if the gate says so; the findings change with the trial.

    Where another became champion since the trial began, there is a new trial against that one, and its report; after
    ANEW of them the promotion stays superseded, and says so.
    """
    promotion = None
    for left in reversed(range(ANEW + 1) if terms.gate.moves else ()):
        version = register_model(terms.title, uri, findings.model, trial.decision, key, terms.tracking)
        promotion = promote_model(version, trial.standing.champion, trial.decision, key, terms.tracking, findings.run)
        if promotion.result != "superseded" or not left:
            break
        with child(findings.run, "compared anew", "trial") as place:  # a backtest is kept under the run that logs it
            trial = hold_trial(findings, terms, findings.run, place)
        findings = findings.model_copy(update={"evaluation": trial.evaluation, "decision": trial.decision})
        report(findings)
    return findings, promotion


def gather(made: Products, trial: Trial, sections: Mapping[str, Any], run: Run) -> Findings:
    """All that a report tells of a whole run."""
    assert made.selection is not None
    own = {"evaluation": trial.evaluation, "decision": trial.decision, "model": made.selection.best.model}
    return Findings(run=run, command="run", sections=dict(sections), **dict(made) | own)


def verdict(decision: Decision) -> str:
    """The gate's line, in the terminal and in logs."""
    return f"The gate: {decision.sentence}"


def tell_verdict(outcome: Outcome) -> Outcome:
    """The same, with the gate's line in the flow run's log, which is all that a worker shows."""
    if outcome.decision is not None:
        get_run_logger().info(verdict(outcome.decision))
    return outcome


def figures(findings: Findings) -> dict[str, float]:
    """The metrics of the model that a run stands for, with what calibration did for it."""
    evaluation, name = findings.evaluation, findings.model.strategy
    return backtest_metrics(evaluation.table[name]) | evaluation.calibration.get(name, {})


def conclude(findings: Findings, uri: str | None = None, promotion: Promotion | None = None) -> Outcome:
    """What a run leaves behind, for the terminal and for scripts."""
    return Outcome(
        run=findings.run,
        data=findings.validated.dataset.fingerprint,
        account=findings.validated.account,
        evaluation=findings.evaluation,
        selection=findings.selection,
        model=findings.model,
        model_uri=uri,
        decision=findings.decision,
        promotion=promotion,
    )
