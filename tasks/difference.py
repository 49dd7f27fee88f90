"""Two pieces of evidence side by side: the first value that is not the same to the last bit."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MIDNIGHT = "T00:00:00.000000"


class Piece(NamedTuple):
    """Values along their first axis, and what each of them is of."""

    labels: Array
    values: Array


Evidence = dict[str, Piece]


def first_difference(before: Evidence, after: Evidence) -> str | None:
    """The first value that is not the same to the last bit: what it is of, and both; None where all are."""
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            return f"{name}: not there with the other future"
        found = _differing(old, new)
        if found:
            return f"{name}, {found}"
    extra = next((name for name in after if name not in before), None)
    return None if extra is None else f"{extra}: only there with the other future"


def _differing(old: Piece, new: Piece) -> str | None:
    shared = min(len(old.labels), len(new.labels))
    labels = old.labels[:shared] != new.labels[:shared]
    if labels.any():
        row = int(np.argmax(labels))
        return f"{said(old.labels[row])} | {said(new.labels[row])}"
    if old.values.shape[1:] != new.values.shape[1:]:
        return f"shape {old.values.shape} | {new.values.shape}"
    a, b = old.values[:shared], new.values[:shared]
    unequal = (bits(a) != bits(b)).reshape(shared, -1) if shared else np.zeros((0, 1), dtype=bool)
    if unequal.any():
        row, column = (int(n) for n in np.argwhere(unequal)[0])
        values = [x.reshape(shared, -1)[row, column] for x in (a, b)]
        return f"{said(old.labels[row])}: {values[0]} | {values[1]}"
    return None if len(old.labels) == len(new.labels) else f"{len(old.labels)} | {len(new.labels)} values"


def said(label: Any) -> str:
    """A label in words; of a time that is midnight, the date."""
    return str(label).removesuffix(MIDNIGHT)


def bits(values: Array) -> Array:
    """Floats as their bits, so that a changed last digit shows, and NaN equals itself."""
    return np.ascontiguousarray(values).view(f"u{values.itemsize}") if values.dtype.kind == "f" else values
