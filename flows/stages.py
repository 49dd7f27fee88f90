"""Parts that several flows share: a target made ready, and a corpus to pretrain on."""

from rnn_model.config import ModelConfig
from rnn_model.errors import ConfigError
from tasks.config import BacktestConfig, HorizonConfig, SourceConfig, TargetConfig, WindowConfig
from tasks.handles import Corpus, Dataset, Validated, WindowSet
from tasks.ingest import ingest
from tasks.pretrain import collect, synthesise
from tasks.validate import validate
from tasks.window import make_windows


def prepare(
    target: TargetConfig, window: WindowConfig, backtest: BacktestConfig, context: int
) -> tuple[Validated, WindowSet]:
    """Ingest, validate and window a target."""
    validated = validate(ingest(target, target.name), target, window.min_history + window.horizon, context)
    return validated, make_windows(validated.dataset, window, backtest)


def prepare_corpus(
    source: SourceConfig, window: HorizonConfig, model: ModelConfig, target: Dataset | None, seed: int
) -> Corpus:
    """The synthetic corpus, or a real collection without the target's series."""
    freq = source.freq or (target.freq if target else None)
    if freq is None:
        raise ConfigError("source.freq is missing: name the frequency to pretrain for, e.g. --source.freq MS")
    if source.path is None:
        return synthesise(source.synthetic, freq, seed)
    validated = validate(ingest(source, "source"), source, window.horizon + 1, model.context)
    return collect(validated.dataset, target)
