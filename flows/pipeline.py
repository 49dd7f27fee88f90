"""The whole chain: ingest, validate, window, pretrain, fine-tune, evaluate, publish, promote."""

from typing import Any

from prefect import flow

from flows.stages import prepare, prepare_corpus
from rnn_model.config import ModelConfig
from tasks.champion import promote_model
from tasks.checks import check_source, check_start, check_windows
from tasks.config import (
    NOTHING,
    BacktestConfig,
    FinetuneConfig,
    GateConfig,
    PretrainConfig,
    Seed,
    TrackingConfig,
    WindowConfig,
)
from tasks.evaluate import backtest_models
from tasks.finetune import finetune_model
from tasks.gate import decide
from tasks.handles import Outcome
from tasks.metrics import backtest_metrics
from tasks.page import Findings
from tasks.pretrain import pretrain_model, start_from
from tasks.publish import publish_model
from tasks.receipt import close_receipt, open_receipt
from tasks.registry import register_model, run_key
from tasks.report import report
from tasks.series_config import SourceConfig, TargetConfig
from tasks.standing import name_champion
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
    gate: GateConfig = GateConfig(),
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
        gate: what a model has to show before it becomes the champion
        tracking: where runs are logged
        seed: every random number follows from it
    """
    target = target.resolved()
    check_start(pretrain, source, finetune.replay)
    check_source(source, window.horizon, target)
    sections: dict[str, Any] = {"source": source, "target": target, "window": window, "model": model}
    sections |= {"pretrain": pretrain, "finetune": finetune, "backtest": backtest}
    sections |= {"gate": gate, "tracking": tracking, "seed": seed}
    with tracked(tracking, target.name, f"{target.name} h{window.horizon}", sections) as run:
        receipt = open_receipt(sections, run)
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
        best = selection.best.model
        standing = name_champion(target.title, validated.dataset, windows, gate, tracking)
        contenders = (*(c.model for c in selection.contenders), *standing.models)
        evaluation = backtest_models(validated.dataset, windows, contenders, backtest, run)
        decision = decide(evaluation, selection.chosen, standing, gate, run)
        findings = Findings(
            run=run,
            command="run",
            sections=sections,
            base=base,
            validated=validated,
            windows=windows,
            selection=selection,
            model=best,
            evaluation=evaluation,
            decision=decision,
        )
        report(findings)
        metrics = backtest_metrics(evaluation.table[selection.chosen])
        metrics |= evaluation.calibration.get(selection.chosen, {})
        uri = publish_model(validated.dataset, best, window.horizon, metrics, run)
        promotion = None
        if gate.moves:
            key = run_key(f"{validated.dataset.content} {base.weights}", sections)
            version = register_model(target.title, uri, best, decision, key, tracking)
            promotion = promote_model(version, standing.champion, decision, key, tracking, run)
        close_receipt(receipt, findings, run)
    return Outcome(
        run=run,
        data=validated.dataset.fingerprint,
        account=validated.account,
        evaluation=evaluation,
        selection=selection,
        model=best,
        model_uri=uri,
        decision=decision,
        promotion=promotion,
    )
