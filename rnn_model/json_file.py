"""JSON that anybody may have written: how large it is, how deep, and whether a name stands twice, is checked."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

FILE_LIMIT = 64 * 2**20  # bytes; the card of a model that has seen a million series has about 40 MB
PLAIN_TEXT = 80  # characters of a name shown in an error


def parse_json(text: str | bytes) -> Any:
    """The value. Raises ValueError for what is no JSON, is nested too deeply, or names something twice.

    200,000 opening brackets would otherwise end in RecursionError, which is no ValueError and no fault of the program.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise ValueError("no JSON of ours: brackets are nested too deeply") from None


def read_json(path: Path, limit: int = FILE_LIMIT) -> Any:
    """The value in a file of at most `limit` bytes. Raises OSError, or ValueError as `parse_json`."""
    with path.open("rb") as handle:
        text = handle.read(limit + 1)  # and no more, whatever the file says of its size
    if len(text) > limit:
        raise ValueError(f"more than the {limit / 2**20:.0f} MiB that such a file can have")
    return parse_json(text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # readers differ in which of two they take
        double = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{double[:PLAIN_TEXT]!r} stands there twice")
    return found
