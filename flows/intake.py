"""What a run needs before it opens: its data, its starting model, and whether the same has been done before."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rnn_model.config import ModelConfig
from tasks.config import NOTHING
from tasks.finished import Work, find_outcome, has_finished, name_work, reach, settings_key
from tasks.handles import Dataset, Model, Outcome
from tasks.ingest import check_clocks, ingest
from tasks.pretrain import start_from

REPEATABLE = ("run", "finetune", "evaluate")  # commands whose outcome is kept


class Given(NamedTuple):
    """What a run starts with."""

    raw: Dataset
    source: Dataset | None  # None: no corpus is needed, or it is synthetic
    start: Model | None  # None: nothing, so a network is pretrained
    work: Work


def take_in(command: str, sections: Mapping[str, Any]) -> Given:
    """Read the target and find the model to start from, while no run is open: a wrong path leaves none behind.

    `sections` are the flow's parameters, the target resolved. Raises ServiceError for a store that does not
    answer, DataError for the files, ConfigError or IntegrityError for a model.
    """
    target, tracking = sections["target"], sections["tracking"]
    store = reach(tracking)
    raw = ingest(target, target.name)
    name, network = origin(sections)
    start = None if name is None else start_from(name, tracking, network)
    parts = [raw.content, start.weights if start else NOTHING]
    rival = sections["gate"].champion if "gate" in sections else None
    if rival not in (None, NOTHING):
        parts.append(start_from(rival, tracking).weights)
    source = None
    if needs_source(sections, start):
        source = ingest(sections["source"], "source")
        check_clocks(source, raw)
        parts.append(source.content)
    return Given(raw, source, start, name_work(command, sections, store, " ".join(parts)))


def needs_source(sections: Mapping[str, Any], start: Model | None) -> bool:
    """Whether a flow makes a corpus of a real collection: to pretrain on, or to replay while it tunes."""
    return "source" in sections and sections["source"].given and (start is None or sections["finetune"].replay > 0)


def origin(sections: Mapping[str, Any]) -> tuple[str | None, ModelConfig | None]:
    """The name of the model that a flow starts from, none for nothing; and the network asked for, if it has a say."""
    if "pretrain" in sections:
        name = sections["pretrain"].from_
        return None if name == NOTHING else name, sections["model"]
    return sections["model"], None


def done_before(command: str, parameters: Mapping[str, Any]) -> Outcome | None:
    """The outcome of the same command, if it has finished; found without Prefect, whose server takes its time."""
    if command not in REPEATABLE or parameters.get("force"):
        return None
    sections = {name: value for name, value in parameters.items() if name != "force"}
    sections["target"] = sections["target"].resolved()
    if not has_finished(settings_key(command, sections, reach(sections["tracking"]))):
        return None
    return find_outcome(take_in(command, sections).work, sections["tracking"])
