"""Series as one flat array on disk, and windows gathered from it by index.

Nothing is stored per window: a window is (series, origin), where the origin counts the points of the
series that lie before the forecast. Shapes: N series, B windows, T context, H horizon, S = 2 seasons.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn_model.artefact import open_checked, publish
from rnn_model.errors import ConfigError, DataError
from rnn_model.seeding import numpy_rng

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
GROUP = 8  # batches whose windows are drawn together and sorted by their history
LIKE_TEST = 32  # points of history with which a window counts as no shorter than a test window
HELD_OUT = 0.05  # share of a corpus' series that validate the pretraining
VALIDATED = 2048  # windows at most that stop a training
LEAST_HISTORY = 4  # points before a window; what follows fewer is mostly chance, and costs the longer ones steps
SHORT_TARGET = 6  # steps a window drawn by series has to have after its origin


class Batch(NamedTuple):
    """Gathered windows: context (B, T) and target (B, H) in the data's units, NaN where missing; periods (B, S)."""

    context: Tensor
    target: Tensor
    periods: Tensor

    def beside(self, other: "Batch") -> "Batch":
        """The windows of both."""
        return Batch(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


class Index(NamedTuple):
    """Windows by number: series (B,) and origin (B,) in points from the start of that series."""

    series: Ints
    origin: Ints

    def take(self, rows: Ints | slice) -> "Index":
        """The windows of those rows."""
        return Index(self.series[rows], self.origin[rows])

    def thinned(self, most: int) -> "Index":
        """Every second, third ... window, `most` at the most."""
        return self.take(slice(None, None, max(1, -(-len(self.series) // most))))


@dataclass(frozen=True)
class Windows:
    """Every series of a data set up to its `end`; points from there on do not exist for whoever holds this.

    `values` is flat, `offsets` (N + 1,) says where each series starts, `periods` (N, S) is in steps and
    `end` (N,) counts the visible points of each series.
    """

    values: Floats
    offsets: Ints
    periods: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.end)

    @property
    def lengths(self) -> Ints:
        """(N,) points stored for each series, visible or not."""
        return np.diff(self.offsets)

    def until(self, end: Ints) -> "Windows":
        """The same series seen only up to `end` (N,). A view can be narrowed, never widened."""
        if (end > self.end).any():
            worst = int(np.argmax(end - self.end))
            raise DataError(
                f"series {worst}: asked for {end[worst]} points, visible are {self.end[worst]}; "
                "a view cannot be widened past its cutoff"
            )
        return replace(self, end=np.maximum(end, 0))

    def hold_out(self, share: float) -> tuple["Windows", "Windows"]:
        """Two views of the same series: all but the last `share` of them, and those (one at least)."""
        held = max(1, round(share * len(self)))
        kept, left = self.end.copy(), self.end.copy()
        kept[-held:], left[:-held] = 0, 0
        return self.until(kept), self.until(left)

    def at(self, origin: Ints) -> Index:
        """One window per series at `origin` (N,)."""
        return Index(np.arange(len(self), dtype=np.int64), origin)

    def count(self, min_history: int, horizon: int) -> int:
        """How many windows have at least `min_history` points before and `horizon` visible points after."""
        return int(np.maximum(self.end - horizon - min_history + 1, 0).sum())

    def draw(self, rng: np.random.Generator, size: int, min_history: int, horizon: int) -> Index:
        """`size` windows, uniform over all that have `min_history` points before and `horizon` after.

        Memory is O(series): the windows are numbered by a running count and never listed.
        """
        running = np.cumsum(np.maximum(self.end - horizon - min_history + 1, 0))
        if not len(running) or not running[-1]:
            raise DataError(
                f"no series has {min_history} points of history and {horizon} of target before its cutoff "
                f"(longest: {self.end.max(initial=0)}); shorten the horizon or bring longer series"
            )
        number = rng.integers(running[-1], size=size)
        series = np.searchsorted(running, number, side="right")
        before = np.where(series > 0, running[series - 1], 0)
        return Index(series.astype(np.int64), number - before + min_history)

    def draw_by_series(self, rng: np.random.Generator, size: int, min_history: int, horizon: int) -> Index:
        """`size` windows: a series, each as likely as any other, then one of its origins.

        For collections of many lengths, where `draw` would hardly see the short series: a target may end with its
        series, after SHORT_TARGET steps or more.
        """
        count = np.maximum(self.end - min(horizon, SHORT_TARGET) - min_history + 1, 0)
        able = np.nonzero(count)[0]
        if not len(able):
            raise DataError(f"no series has {min_history} points of history and a target; bring longer series")
        series = rng.choice(able, size)
        return Index(series, min_history + (rng.random(size) * count[series]).astype(np.int64))

    def gather(self, index: Index, context: int, horizon: int) -> Batch:
        """Windows as tensors: `context` points before each origin, `horizon` points from it on.

        What lies before the start of a series, or at and past its `end`, is NaN; an origin past `end` is refused.
        """
        series, origin = index
        if (origin > self.end[series]).any():
            raise DataError("a window starts past the cutoff of its series; narrow the origins or widen the data")
        steps = np.arange(-context, horizon, dtype=np.int64)
        position = origin[:, None] + steps  # (B, T + H)
        visible = (position >= 0) & (position < self.end[series][:, None])
        flat = np.where(visible, self.offsets[series][:, None] + position, 0)
        rows = np.where(visible, self.values[flat], np.nan)
        both = torch.from_numpy(rows)
        return Batch(both[:, :context], both[:, context:], torch.from_numpy(self.periods[series]))

    def batches(self, index: Index, context: int, horizon: int, size: int = 1024) -> list[Batch]:
        """Every window of the index, gathered `size` at a time."""
        starts = range(0, len(index.series), size)
        return [self.gather(index.take(slice(start, start + size)), context, horizon) for start in starts]

    def drawing(
        self, size: int, context: int, horizon: int, min_history: int, seed: int, by_series: bool = False
    ) -> Callable[[int], Batch]:
        """A function from a step's number to its random windows: the same step always gives the same batch.

        Windows are drawn for GROUP steps at a time and dealt out by how much history they have, in random order, so
        that the windows of one batch need about the same room and none is computed mostly on padding.
        """

        pick = self.draw_by_series if by_series else self.draw

        def draw(step: int) -> Batch:
            group, place = divmod(step, GROUP)
            rng = numpy_rng(seed, "batches", group)
            drawn = pick(rng, GROUP * size, min_history, horizon)
            by_history = np.argsort(np.minimum(drawn.origin, context), kind="stable")
            turn = rng.permutation(GROUP)[place]
            return self.gather(drawn.take(by_history[turn * size : (turn + 1) * size]), context, horizon)

        return draw

    def history(self, series: int) -> Floats:
        """The visible points of one series, NaN where missing."""
        start = self.offsets[series]
        return self.values[start : start + self.end[series]]


def held_out_batches(windows: Windows, context: int, horizon: int, seed: int) -> list[Batch]:
    """Windows of the series of a corpus that no pretraining learns from."""
    _, held = windows.hold_out(HELD_OUT)
    size = min(int((held.end > 0).sum()), VALIDATED)
    judged = held.draw_by_series(numpy_rng(seed, "validation"), size, LEAST_HISTORY, horizon)
    return held.batches(judged, context, horizon)


def from_arrays(arrays: Sequence[Floats], periods: Ints) -> Windows:
    """Windows over in-memory series; `periods` (N, S)."""
    lengths = np.array([len(a) for a in arrays], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Windows(np.concatenate(arrays), offsets, np.asarray(periods, dtype=np.int64), lengths)


def save_windows(windows: Windows, folder: Path, about: Mapping[str, object]) -> Path:
    """Write to a folder, atomically and with digests; `about` goes to about.json beside the arrays."""

    def write(staging: Path) -> None:
        np.save(staging / "values.npy", windows.values, allow_pickle=False)
        np.save(staging / "offsets.npy", windows.offsets, allow_pickle=False)
        np.save(staging / "periods.npy", windows.periods, allow_pickle=False)
        (staging / "about.json").write_text(json.dumps(dict(about), indent=1))

    return publish(folder, write)


def load_windows(folder: Path) -> Windows:
    """The windows of a folder, values memory-mapped, after their digests were checked."""
    open_checked(folder)
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
    return Windows(values, offsets, np.load(folder / "periods.npy", allow_pickle=False), np.diff(offsets))


@dataclass(frozen=True)
class Split:
    """Where each series is cut: test cutoffs last, validation before them, training before both.

    `test` (K, N), the earliest first, and `validation` (V, N) hold forecast origins in points from the start
    of the series; -1 marks a series too short to take part there. A training window has `history` points before it
    at least.
    """

    test: Ints
    validation: Ints
    history: int

    def tuning(self, windows: Windows) -> Windows:
        """What may be seen before the test: everything before the first test cutoff of each series."""
        return windows.until(_earliest(self.test, np.zeros(len(windows), np.int64)))

    def training(self, windows: Windows) -> Windows:
        """What may be fitted: everything before the first validation origin of each series."""
        tuning = self.tuning(windows)
        return tuning.until(_earliest(self.validation, tuning.end))

    def stopping_index(self) -> Index:
        """The earlier half of the validation windows, which stop a training (the only one, where there is one)."""
        return _taking_part(self.validation[: max(1, len(self.validation) // 2)])

    def choosing_index(self) -> Index:
        """The later half of the validation windows, which rank candidates."""
        return _taking_part(self.validation[len(self.validation) // 2 :])

    def validation_index(self) -> Index:
        """All validation windows."""
        return _taking_part(self.validation)

    def test_index(self, cutoff: int) -> Index:
        """The windows of one test cutoff, over the series that are long enough."""
        return _taking_part(self.test[cutoff : cutoff + 1])


def split_windows(windows: Windows, horizon: int, cutoffs: int, step: int, validation: int, min_history: int) -> Split:
    """Rolling origins from the end: `cutoffs` test origins `step` apart, then `validation` ones a horizon apart.

    The last test window ends where its series ends; the last validation window ends at the first test cutoff
    its series takes part in, so no validation target is a test target. A test window needs `min_history` points
    before it; a series too short for the earlier test cutoffs takes part in the later ones only. What is fitted and
    chosen on has to be like the test: a validation window needs half the history of its series' first test window,
    a training window half of what is usual there, LIKE_TEST points being enough for both. Usual is the median of
    the series that have anything to fit: those that begin after the first cutoffs of the others have no say.
    """
    if min(horizon, cutoffs, step, validation, min_history) < 1:
        raise ConfigError("horizon, cutoffs, step, validation windows and min_history are all at least 1")
    test = windows.end - horizon - step * np.arange(cutoffs - 1, -1, -1)[:, None]  # (K, N)
    test = np.where(test >= min_history, test, -1)
    if not (test >= 0).any():
        raise DataError(
            f"no series has {min_history} points of history before a horizon of {horizon} "
            f"(longest: {windows.end.max(initial=0)}); shorten --window.horizon or bring longer series"
        )
    first = _earliest(test, np.zeros(len(windows), np.int64))
    least = np.maximum(min_history, np.minimum(first // 2, LIKE_TEST))  # (N,)
    origins = first - horizon * np.arange(validation, 0, -1)[:, None]  # (V, N)
    validating = np.where(origins >= least, origins, -1)
    fitted = _earliest(validating, first) >= min_history + horizon  # (N,): with a training window at all
    return Split(test, validating, int(np.median(least[fitted])) if fitted.any() else min_history)


def _taking_part(origins: Ints) -> Index:
    """(K, N) -> every window of every series that is long enough for it."""
    row, series = np.nonzero(origins >= 0)
    return Index(series.astype(np.int64), origins[row, series])


def _earliest(origins: Ints, otherwise: Ints) -> Ints:
    """(K, N) -> (N,): the smallest origin that takes part, `otherwise` where none does."""
    none = (origins < 0).all(0)
    smallest = np.where(origins >= 0, origins, np.iinfo(np.int64).max).min(0)
    return np.where(none, otherwise, smallest)
