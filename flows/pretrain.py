"""Pretraining alone."""

from flows.definition import flow
from flows.stages import prepare_corpus
from rnn_model.config import FitConfig, ModelConfig
from tasks.checks import check_source
from tasks.config import HorizonConfig, Seed, TrackingConfig
from tasks.handles import Model, Products
from tasks.pretrain import pretrain_model
from tasks.receipt import close_receipt, open_receipt
from tasks.series_config import SourceConfig
from tasks.tracking import tracked


@flow(name="pretrain")
def pretrain(
    source: SourceConfig = SourceConfig(),
    window: HorizonConfig = HorizonConfig(),
    model: ModelConfig = ModelConfig(),
    pretrain: FitConfig = FitConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
) -> Model:
    """Train a network on the source and leave a model folder to start from.

    Args:
        source: what the network is pretrained on; its freq is needed
        window: how far ahead to forecast
        model: the network
        pretrain: the training
        tracking: where runs are logged
        seed: every random number follows from it
    """
    check_source(source, window.horizon, None)
    sections = {
        "source": source,
        "window": window,
        "model": model,
        "pretrain": pretrain,
        "tracking": tracking,
        "seed": seed,
    }
    with tracked(tracking, "pretrain", f"pretrain h{window.horizon}", sections) as run:
        receipt = open_receipt(sections, run)
        corpus = prepare_corpus(source, window, model.context, None, seed, run)
        made = pretrain_model(corpus, model, pretrain, window.horizon, seed, run)
        close_receipt(receipt, Products(base=made.model_copy(update={"corpus": corpus.folder})), run)
    return made
