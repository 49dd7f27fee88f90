"""Settings that each are right, but not together, or not for this: refused before anything is read."""

import re
from pathlib import Path

from rnn_model.config import Section
from rnn_model.errors import ConfigError
from tasks.config import NOTHING, PretrainConfig, WindowConfig
from tasks.frequency import ANY, parse_frequency
from tasks.series_config import SourceConfig, TargetConfig

ADDRESS = ("models:/", "runs:/")
LEADS_OUT = re.compile(r"(?:^|/)\.\.(?:/|$)|^/|[%\\\x00-\x1f\x7f]")  # of a name from which paths are made


def check_name(name: str) -> None:
    """Refuse a name of a run or a registered model, or an address of one, that leads elsewhere. Raises ConfigError."""
    plain = next((name.removeprefix(begin) for begin in ADDRESS if name.startswith(begin)), name)
    if LEADS_OUT.search(plain):
        raise ConfigError(f"{name!r} is no name of a run or model: it has a path or an escape in it; write it as it is")


def check_windows(window: WindowConfig, context: int) -> None:
    """Refuse a history longer than what the network sees. Raises ConfigError."""
    if window.min_history > context:
        raise ConfigError(
            f"window.min_history {window.min_history} is longer than the network's context {context}; "
            "lower the one or raise model.context"
        )


def check_start(pretrain: PretrainConfig, source: SourceConfig, replay: float) -> None:
    """Refuse options of a pretraining that does not take place; a replay has use for the source. Raises ConfigError."""
    read = {"pretrain": pretrain, "source": source}
    idle = [name for name in read if name in idle_sections(pretrain, replay)]
    lost = [f"{name}.{field}" for name in idle for field in changed(read[name]) if field != "from_"]
    if lost:
        raise ConfigError(
            f"{', '.join(lost)} would change nothing, as the run starts from the model {pretrain.from_}; "
            f"add --pretrain.from {NOTHING} to pretrain a network, or leave them out"
        )


def idle_sections(pretrain: PretrainConfig, replay: float) -> set[str]:
    """The sections that only a pretraining reads, where a run starts from a model; a replay reads the source too."""
    if pretrain.from_ == NOTHING:
        return set()
    return {"model", "pretrain"} if replay else {"model", "pretrain", "source"}


def changed(section: Section) -> list[str]:
    """The fields of a section that differ from its defaults."""
    usual = type(section)()
    return [name for name in type(section).model_fields if getattr(section, name) != getattr(usual, name)]


def check_source(source: SourceConfig, horizon: int, target: TargetConfig | None) -> str:
    """The frequency to pretrain for. Raises ConfigError where it is missing, foreign, or the corpus is too short."""
    freq = source.freq or (target.freq if target else None)
    if freq is None:
        raise ConfigError("source.freq is missing: name the frequency to pretrain for, e.g. --source.freq MS")
    if target and target.freq and freq != ANY and parse_frequency(freq).rhythm != parse_frequency(target.freq).rhythm:
        raise ConfigError(f"source.freq {freq} differs from target.freq {target.freq}; pretrain for the target's")
    length = source.synthetic.length
    if not source.given and length is not None and length < 2 * horizon:
        raise ConfigError(f"source.synthetic.length {length} is under two horizons; make it at least {2 * horizon}")
    return freq


def check_output(output: Path | None) -> None:
    """Refuse a forecast file of another kind. Raises ConfigError."""
    if output is not None and output.suffix.lower() not in (".parquet", ".csv"):
        raise ConfigError(f"output {output} ends in neither .parquet nor .csv; forecasts are written as one of them")
