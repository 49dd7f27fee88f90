"""Fine-tuning alone, from a model that is already there."""

from flows.definition import flow
from flows.intake import take_in
from flows.stages import prepare
from rnn_model.errors import ConfigError
from tasks.checks import check_windows
from tasks.config import BASE, BacktestConfig, FinetuneConfig, Seed, TrackingConfig, WindowConfig
from tasks.finetune import finetune_model
from tasks.finished import keep_outcome, once
from tasks.handles import Outcome, Products
from tasks.publish import publish_model
from tasks.receipt import close_receipt, open_receipt
from tasks.series_config import TargetConfig
from tasks.tracking import tracked


@flow(name="finetune")
def finetune(
    model: str = BASE,
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    finetune: FinetuneConfig = FinetuneConfig(),
    backtest: BacktestConfig = BacktestConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
    force: bool = False,
) -> Outcome:
    """Fine-tune a pretrained model on a target; the test windows stay unseen.

    Args:
        model: where to start: base, a model folder, an MLflow address (models:/, runs:/) or a run id
        target: your series
        window: how series are cut into windows
        finetune: the strategies and their training
        backtest: where the test begins, so that nothing past it is seen
        tracking: where runs are logged
        seed: every random number follows from it
        force: run again what has finished with the same data, settings and code
    """
    if finetune.replay:
        raise ConfigError("finetune.replay needs the corpus of a pretraining; use `carryover run`, which makes one")
    target = target.resolved()
    sections = {"model": model, "target": target, "window": window, "finetune": finetune}
    sections |= {"backtest": backtest, "tracking": tracking, "seed": seed}
    given = take_in("finetune", sections)
    base = given.start
    assert base is not None  # only a pipeline starts from nothing
    check_windows(window, base.context)
    with once(given.work, tracking, force) as earlier:
        if earlier is not None:
            return earlier
        with tracked(tracking, target.name, f"{target.name} h{window.horizon} finetune", sections) as run:
            receipt = open_receipt(sections, run)
            validated, windows = prepare(given.raw, target, window, backtest, base.context, run)
            data = validated.dataset
            selection = finetune_model(data, windows, base, finetune, seed, run)
            best = selection.best
            uri = publish_model(data, best.model, window.horizon, {"val/best_loss": best.validation_loss}, run)
            close_receipt(receipt, Products(base=base, validated=validated, windows=windows, selection=selection), run)
        made = Outcome(
            run=run,
            data=data.fingerprint,
            account=validated.account,
            selection=selection,
            model=best.model,
            model_uri=uri,
        )
        return keep_outcome(given.work, made)
