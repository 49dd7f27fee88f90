"""Where a target was read from: targets of one name share a log and a champion, so another file under it is told."""

import json
from pathlib import Path

from rnn_model.artefact import digest_json, write_file
from rnn_model.json_file import read_json
from tasks.config import home
from tasks.series_config import SeriesConfig, TargetConfig


def source_notes(config: SeriesConfig) -> tuple[str, ...]:
    """Remember the source of a target that is named after its file; a word where it was another one the last time.

    A name that was given, `--target.called`, is its user's word, and a copy within the data folder is none of a user's.
    """
    if not isinstance(config, TargetConfig) or config.called or config.path is None:
        return ()
    source = config.address or str(Path(config.path).resolve())
    if Path(source).is_relative_to(home().resolve()):
        return ()
    place = home() / "targets" / f"{config.name[:60]}-{digest_json(config.title)[:8]}.json"
    before = remembered(place)
    if before != source:
        write_file(place, (json.dumps({"source": source}) + "\n").encode())
    if before in (None, source):
        return ()
    return (
        f"target {config.title} was read from {before} the last time, and from {source} now; they share an experiment, "
        "a champion and a log, so give one of them another name with --target.called where they are different series",
    )


def remembered(place: Path) -> str | None:
    """The source that was written down; None where none was, or where it cannot be read any more."""
    if not place.is_file():
        return None
    try:
        return str(dict(read_json(place))["source"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
