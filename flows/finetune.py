"""Fine-tuning alone, from a model that is already there."""

from prefect import flow

from flows.stages import prepare
from rnn_model.errors import ConfigError
from tasks.checks import check_windows
from tasks.config import BASE, BacktestConfig, FinetuneConfig, Seed, TrackingConfig, WindowConfig
from tasks.finetune import finetune_model
from tasks.handles import Outcome, Products
from tasks.pretrain import start_from
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
    """
    if finetune.replay:
        raise ConfigError("finetune.replay needs the corpus of a pretraining; use `carryover run`, which makes one")
    target = target.resolved()
    sections = {"model": model, "target": target, "window": window, "finetune": finetune}
    sections |= {"backtest": backtest, "tracking": tracking, "seed": seed}
    with tracked(tracking, target.name, f"{target.name} h{window.horizon} finetune", sections) as run:
        receipt = open_receipt(sections, run)
        base = start_from(model, tracking)
        check_windows(window, base.context)
        validated, windows = prepare(target, window, backtest, base.context, run)
        selection = finetune_model(validated.dataset, windows, base, finetune, seed, run)
        best = selection.best
        uri = publish_model(validated.dataset, best.model, window.horizon, {"val/best_loss": best.validation_loss}, run)
        close_receipt(receipt, Products(base=base, validated=validated, windows=windows, selection=selection), run)
    return Outcome(
        run=run,
        data=validated.dataset.fingerprint,
        account=validated.account,
        selection=selection,
        model=best.model,
        model_uri=uri,
    )
