"""The leakage proof: everything after a cutoff is changed, and nothing before it may move by one bit."""

from flows.definition import flow
from flows.stages import prepare
from rnn_model.errors import ConfigError
from tasks.checks import check_windows
from tasks.config import BASE, BacktestConfig, FinetuneConfig, Seed, TrackingConfig, WindowConfig
from tasks.evaluate import backtest_models
from tasks.evidence import Carried
from tasks.finetune import finetune_model
from tasks.future import change_future
from tasks.handles import Model, Run
from tasks.ingest import ingest
from tasks.leakage import Finding, Proof, compare, conclude
from tasks.pretrain import start_from
from tasks.series_config import TargetConfig
from tasks.tracking import child, tracked

FEW = FinetuneConfig(steps=10, validate_every=1)


@flow(name="prove")
def prove(
    model: str = BASE,
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    finetune: FinetuneConfig = FEW,
    backtest: BacktestConfig = BacktestConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
) -> Proof:
    """Change everything after each test cutoff and prove that nothing before it moves by one bit.

    Args:
        model: where every candidate starts: base, a model folder, an MLflow address (models:/, runs:/) or a run id
        target: your series
        window: how series are cut into windows
        finetune: carrying over to the target, with few steps: a leak needs no more
        backtest: the test
        tracking: where the proof is logged
        seed: every random number follows from it
    """
    if finetune.replay:
        raise ConfigError("finetune.replay is no part of a proof: what is replayed are not your series; leave it out")
    target = target.resolved().model_copy(update={"ended": "keep"})  # another future ends elsewhere
    sections = {"model": model, "target": target, "window": window, "finetune": finetune}
    sections |= {"backtest": backtest, "tracking": tracking, "seed": seed}
    with tracked(tracking, f"{target.name} proof", f"{target.name} h{window.horizon} proof", sections) as run:
        start = start_from(model, tracking)
        check_windows(window, start.context)
        raw = ingest(target, target.name)
        with child(run, "untouched", "proof") as own:
            untouched = carry(target, window, start, finetune, backtest, seed, own)
        findings: list[Finding] = []
        for cutoff in range(backtest.cutoffs):
            future = change_future(raw, untouched.validated.dataset, untouched.windows, target, cutoff, seed)
            with child(run, f"another future after cutoff {cutoff + 1}", "proof") as own:
                if cutoff == 0:  # everything is fitted before the first one, so a later change has no other fits
                    other = carry(future.target, window, start, finetune, backtest, seed, own)
                else:
                    other = forecast_again(untouched, future.target, window, backtest, own)
            findings.extend(compare(untouched, other, future))
        return conclude(tuple(findings), run)


def carry(
    target: TargetConfig,
    window: WindowConfig,
    start: Model,
    finetune: FinetuneConfig,
    backtest: BacktestConfig,
    seed: int,
    run: Run,
) -> Carried:
    """The chain, as `carryover run` goes through it; a run of its own, so that nothing of another is taken for it."""
    validated, windows = prepare(ingest(target, target.name), target, window, backtest, start.context, run)
    selection = finetune_model(validated.dataset, windows, start, finetune, seed, run)
    contenders = tuple(c.model for c in selection.contenders)
    evaluation = backtest_models(validated.dataset, windows, contenders, backtest, run)
    return Carried(
        validated=validated,
        windows=windows,
        start=start,
        finetune=finetune,
        seed=seed,
        selection=selection,
        evaluation=evaluation,
    )


def forecast_again(
    untouched: Carried, target: TargetConfig, window: WindowConfig, backtest: BacktestConfig, run: Run
) -> Carried:
    """The models of the untouched run on other data, logged to runs of their own."""
    validated, windows = prepare(ingest(target, target.name), target, window, backtest, untouched.start.context, run)
    fitted = untouched.selection.contenders if untouched.selection else ()
    models = tuple(c.model.model_copy(update={"run": None}) for c in fitted)
    evaluation = backtest_models(validated.dataset, windows, models, backtest, run)
    changed = {"validated": validated, "windows": windows, "selection": None, "evaluation": evaluation}
    return untouched.model_copy(update=changed)
