"""Parts that several flows share: a target made ready, and a corpus to pretrain on."""

from tasks.config import BacktestConfig, HorizonConfig, WindowConfig
from tasks.frequency import long_season_of, usual_season
from tasks.handles import Corpus, Run, Validated, WindowSet
from tasks.ingest import ingest
from tasks.pretrain import collect, synthesise
from tasks.series_config import SourceConfig, TargetConfig
from tasks.tracking import log_dataset
from tasks.validate import validate
from tasks.window import make_windows


def prepare(
    target: TargetConfig, window: WindowConfig, backtest: BacktestConfig, context: int, run: Run
) -> tuple[Validated, WindowSet]:
    """Ingest, validate, log and window a target."""
    validated = validate(ingest(target, target.name), target, window.min_history + window.horizon, context)
    log_dataset(run, validated.dataset, "target")
    return validated, make_windows(validated.dataset, window, backtest)


def prepare_corpus(
    source: SourceConfig, window: HorizonConfig, context: int, target: Validated | None, seed: int, run: Run
) -> Corpus:
    """The synthetic corpus for the target's rhythm, or a real collection without the target's series."""
    known = target.dataset if target else None
    if not source.given:
        freq = source.freq or (known.freq if known else "")
        season = source.season or (known.periods[0] if known else usual_season(freq))
        longest = context + 2 * window.horizon
        return synthesise(source.synthetic, freq, (season, long_season_of(season)), longest, seed)
    validated = validate(ingest(source, "source"), source, window.horizon + 1, context)
    log_dataset(run, validated.dataset, "source")
    return collect(validated.dataset, known)
