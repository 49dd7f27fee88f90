"""Which column of a file is what: as declared, else by the names of a known dialect."""

from difflib import get_close_matches

from rnn_model.errors import DataError
from tasks.series_config import ColumnsConfig, SeriesConfig

NAMES = {"id": "unique_id", "ds": "ds", "y": "y", "segment": "label"}  # option -> the name it gets here
DIALECTS = (("unique_id", "ds", "y"), ("item_id", "timestamp", "target"))


def map_columns(where: str, found: list[str], config: SeriesConfig) -> dict[str, str]:
    """unique_id, ds, y, and label where a segment is declared -> the file's names for them.

    Raises DataError for columns that are not there, naming the nearest one.
    """
    columns = config.columns
    free = [name for name in found if name != columns.segment]  # what groups the series is nothing else beside
    wanted = value_columns(free, columns) | ({} if columns.segment is None else {"segment": columns.segment})
    absent = {o: name for o, name in wanted.items() if name not in (found if o == "segment" else free)}
    if absent:
        raise DataError(f"{where}: {absence(absent, found, config)}")
    return {NAMES[option]: name for option, name in wanted.items()}


def value_columns(found: list[str], columns: ColumnsConfig) -> dict[str, str]:
    """The names of id, ds and y: as declared, else of the dialect that fits, or that most of it is there of."""
    declared = (columns.id, columns.ds, columns.y)
    fitting = [d for d in DIALECTS if all(w in found for w, own in zip(d, declared, strict=True) if own is None)]
    dialect = fitting[0] if fitting else max(DIALECTS, key=lambda d: len(set(d) & set(found)))
    return {o: own or usual for o, own, usual in zip(("id", "ds", "y"), declared, dialect, strict=True)}


def absence(absent: dict[str, str], found: list[str], config: SeriesConfig) -> str:
    """What is not there, what is, and how to name another."""
    options = " ".join(f"--{config.section}.columns.{option} NAME" for option in absent)
    taken = [name for option, name in absent.items() if option != "segment" and name == config.columns.segment]
    if taken:
        return f"column {taken[0]!r} is declared as columns.segment, so it is no other; name the other with {options}"
    lowered = {name.lower(): name for name in found}
    near = get_close_matches(next(iter(absent.values())).lower(), lowered, n=1, cutoff=0.5)
    hint = f"nearest is {lowered[near[0]]!r}; " if near else ""
    return (
        f"no column {' or '.join(map(repr, absent.values()))}, found {', '.join(map(repr, found[:12]))}; "
        f"{hint}name it with {options}"
    )
