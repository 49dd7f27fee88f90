"""The whole chain: ingest, validate, window, pretrain, fine-tune, evaluate, publish."""

from typing import Any

from prefect import flow

from flows.stages import prepare, prepare_corpus
from rnn_model.config import ModelConfig
from tasks.checks import check_source, check_start, check_windows
from tasks.config import (
    NOTHING,
    BacktestConfig,
    FinetuneConfig,
    PretrainConfig,
    Seed,
    SourceConfig,
    TargetConfig,
    TrackingConfig,
    WindowConfig,
)
from tasks.evaluate import backtest_models
from tasks.finetune import finetune_model
from tasks.handles import Outcome
from tasks.metrics import backtest_metrics
from tasks.pretrain import pretrain_model, start_from
from tasks.publish import publish_model
from tasks.report import report
from tasks.tracking import tracked


@flow(name="pipeline")
def pipeline(
    source: SourceConfig = SourceConfig(),
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    model: ModelConfig = ModelConfig(),
    pretrain: PretrainConfig = PretrainConfig(),
    finetune: FinetuneConfig = FinetuneConfig(),
    backtest: BacktestConfig = BacktestConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
) -> Outcome:
    """Carry a target through the whole chain: pretrained network, fine-tuning, everything compared on the same windows.

    Args:
        source: what a network is pretrained on that starts from nothing
        target: your series
        window: how series are cut into windows
        model: the network that starts from nothing
        pretrain: where the network comes from, and its pretraining
        finetune: carrying over to the target
        backtest: the test
        tracking: where runs are logged
        seed: every random number follows from it
    """
    target = target.resolved()
    check_start(pretrain, source, finetune.replay)
    check_source(source, window.horizon, target)
    sections: dict[str, Any] = {"source": source, "target": target, "window": window, "model": model}
    sections |= {"pretrain": pretrain, "finetune": finetune, "backtest": backtest, "tracking": tracking, "seed": seed}
    with tracked(tracking, target.name, f"{target.name} h{window.horizon}", sections) as run:
        known = None if pretrain.from_ == NOTHING else start_from(pretrain.from_, tracking, model)
        context = known.context if known else model.context
        check_windows(window, context)
        validated, windows = prepare(target, window, backtest, context, run)
        base = known
        if base is None or finetune.replay:
            corpus = prepare_corpus(source, window, context, validated, seed, run)
            made = base or pretrain_model(corpus, model, pretrain, window.horizon, seed, run)
            base = made.model_copy(update={"corpus": corpus.folder})
        selection = finetune_model(validated.dataset, windows, base, finetune, seed, run)
        contenders = tuple(c.model for c in selection.contenders)
        evaluation = backtest_models(validated.dataset, windows, contenders, backtest, run)
        report(validated.dataset, evaluation, selection, selection.chosen, run)
        metrics = backtest_metrics(evaluation.table[selection.chosen])
        metrics |= evaluation.calibration.get(selection.chosen, {})
        uri = publish_model(validated.dataset, selection.best.model, window.horizon, metrics, run)
    return Outcome(
        run=run,
        data=validated.dataset.fingerprint,
        account=validated.account,
        evaluation=evaluation,
        selection=selection,
        model=selection.best.model,
        model_uri=uri,
    )
