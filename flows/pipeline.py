"""The whole chain: ingest, validate, window, pretrain, fine-tune, evaluate, publish, promote."""

from typing import Any

from flows.definition import flow
from flows.intake import take_in
from flows.stages import (
    Terms,
    conclude,
    figures,
    gather,
    hold_trial,
    prepare,
    prepare_corpus,
    promote_chosen,
    tell_verdict,
)
from rnn_model.config import ModelConfig
from tasks.checks import check_source, check_start, check_windows
from tasks.config import (
    BacktestConfig,
    FinetuneConfig,
    GateConfig,
    PretrainConfig,
    Seed,
    TrackingConfig,
    WindowConfig,
)
from tasks.finetune import finetune_model
from tasks.finished import keep_outcome, once
from tasks.handles import Outcome, Products
from tasks.pretrain import pretrain_model
from tasks.publish import publish_model
from tasks.receipt import close_receipt, open_receipt
from tasks.report import report
from tasks.series_config import SourceConfig, TargetConfig
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
    force: bool = False,
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
        force: run again what has finished with the same data, settings and code
    """
    target = target.resolved()
    check_start(pretrain, source, finetune.replay)
    check_source(source, window.horizon, target)
    sections: dict[str, Any] = {"source": source, "target": target, "window": window, "model": model}
    sections |= {"pretrain": pretrain, "finetune": finetune, "backtest": backtest}
    sections |= {"gate": gate, "tracking": tracking, "seed": seed}
    given = take_in("run", sections)
    context = given.start.context if given.start else model.context
    check_windows(window, context)
    with once(given.work, tracking, force) as earlier:
        if earlier is not None:
            return tell_verdict(earlier)
        with tracked(tracking, target.name, f"{target.name} h{window.horizon}", sections) as run:
            receipt = open_receipt(sections, run)
            validated, windows = prepare(given.raw, target, window, backtest, context, run)
            base = given.start
            if base is None or finetune.replay:
                corpus = prepare_corpus(source, window, context, validated, seed, run, given.source)
                first = base or pretrain_model(corpus, model, pretrain, window.horizon, seed, run)
                base = first.model_copy(update={"corpus": corpus.folder})
            selection = finetune_model(validated.dataset, windows, base, finetune, seed, run)
            made = Products(base=base, validated=validated, windows=windows, selection=selection)
            terms = Terms(target.title, backtest, gate, tracking)
            trial = hold_trial(made, terms, run, run)
            findings = gather(made, trial, sections, run)
            report(findings)
            uri = publish_model(validated.dataset, findings.model, window.horizon, figures(findings), run)
            findings, promotion = promote_chosen(findings, trial, terms, uri, given.work.key)
            close_receipt(receipt, findings, run)
        return tell_verdict(keep_outcome(given.work, conclude(findings, uri, promotion)))
