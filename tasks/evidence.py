"""What a run leaves to be compared: every stage's results before the cutoffs, as arrays that say what they are.

Shapes: N series, B windows, K test cutoffs, Q deciles.
"""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch

from rnn_model.artefact import open_checked
from rnn_model.checkpoint import load_card, load_model, read_record
from rnn_model.config import DECILES, Section
from rnn_model.windows import Batch, Index
from tasks.config import FinetuneConfig
from tasks.difference import MIDNIGHT, Array, Evidence, Piece, said
from tasks.evaluate import until_cutoff
from tasks.finetune import drawing
from tasks.future import kept_points
from tasks.handles import Evaluation, Model, Selection, Validated, WindowSet
from tasks.window import open_windows

TIMED = ("windows_per_second",)  # of a training's record: the machine's, not the data's
SCORES = ("n", "MASE", "RMSSE", "sMAPE", "MAE", "QL", "coverage_80")


class Carried(Section):
    """One run of the chain, by its handles; without a selection it only forecast, with models of another run."""

    validated: Validated
    windows: WindowSet
    start: Model
    finetune: FinetuneConfig
    seed: int
    selection: Selection | None = None
    evaluation: Evaluation


class Look:
    """A run as the comparison sees it: of `kept` (name -> points) series, what lies before each one's kept points."""

    def __init__(self, carried: Carried, kept: dict[str, int], cutoff: int) -> None:
        self.carried, self.kept, self.cutoff = carried, kept, cutoff
        self.windows, self.split = open_windows(carried.windows)
        self.rows = pl.read_parquet(open_checked(carried.validated.dataset.folder) / "data.parquet")
        self.names: list[str] = self.rows["unique_id"].unique(maintain_order=True).to_list()
        self.number = {name: n for n, name in enumerate(self.names)}
        self.times: Array = self.rows["ds"].to_numpy()
        self.network, self.card = load_model(carried.start.folder)

    @staticmethod
    def kept_of(carried: Carried, cutoff: int) -> dict[str, int]:
        """Name -> points that stay when everything after a cutoff is changed."""
        _, split = open_windows(carried.windows)
        rows = pl.read_parquet(open_checked(carried.validated.dataset.folder) / "data.parquet")
        names = rows["unique_id"].unique(maintain_order=True)
        return dict(zip(names, kept_points(split, cutoff).tolist(), strict=True))

    def span(self, name: str, points: int | None = None) -> slice:
        """Rows of the first `points` of a series; by default of those that stay."""
        start = int(self.windows.offsets[self.number[name]])
        return slice(start, start + (self.kept[name] if points is None else points))

    def past(self, name: str) -> Array:
        """The stored values of a series after its kept points."""
        end = int(self.windows.lengths[self.number[name]])
        return np.asarray(self.windows.values[self.span(name, end)][self.kept[name] :])

    def known(self) -> Iterator[str]:
        """The kept series that this run has too."""
        return (name for name in self.kept if name in self.number)

    def time(self, series: int, origin: int) -> str:
        """The last time before an origin."""
        return said(self.times[self.windows.offsets[series] + origin - 1])

    def named(self, index: Index) -> list[str]:
        """Every window by its series and cutoff."""
        return [f"{self.names[s]} from {self.time(s, o)}" for s, o in zip(*index, strict=True)]

    @cached_property
    def training(self) -> list[Batch]:
        """The batches of every step, as fine-tuning draws them."""
        sizes = (self.card.model.context, self.carried.windows.horizon, self.split.history)
        seen = self.split.training(self.windows)
        if not seen.count(self.split.history, self.carried.windows.horizon):
            return []
        draw = drawing(seen, None, self.carried.finetune, sizes, self.carried.seed)
        return [draw(step) for step in range(1, self.carried.finetune.steps + 1)]

    def validation(self, index: Index) -> Batch:
        """Validation windows, as fine-tuning gathers them."""
        return self.split.tuning(self.windows).gather(index, self.card.model.context, self.carried.windows.horizon)

    @cached_property
    def forecasts(self) -> pl.DataFrame:
        """Every model's forecasts at the cutoffs up to this one, of the kept series."""
        folder = open_checked(self.carried.evaluation.folder)
        frame = pl.read_parquet(folder / "forecasts.parquet").join(self.until, on="unique_id", how="inner")
        return frame.sort("unique_id", "cutoff", "step")

    @cached_property
    def until(self) -> pl.DataFrame:
        """unique_id, at: the time of the test cutoff, null where a series takes no part in it; end: what stays."""
        lines = []
        for name in self.known():
            origin = int(self.split.test[self.cutoff, self.number[name]])
            at = self.times[self.span(name).start + origin - 1] if origin >= 0 else None
            end = self.times[self.span(name).stop - 1] if self.kept[name] else None
            lines.append((name, at, end))
        names, at, end = zip(*lines, strict=True)
        return pl.DataFrame({"unique_id": names, "at": _times(at), "end": _times(end)})


def _said(column: str) -> pl.Expr:
    return pl.col(column).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f").str.strip_suffix(MIDNIGHT)


def _times(values: tuple[Any, ...]) -> Array:
    return np.array([np.datetime64("NaT") if v is None else v for v in values], dtype="datetime64[us]")


def evidence(look: Look) -> Iterator[tuple[str, Evidence]]:
    """Every stage in the order of the chain. What is fitted is compared where this run fitted anything."""
    yield "validated rows", validated_rows(look)
    yield "windows", stored_windows(look)
    yield "where series are cut", cuts(look)
    if look.carried.selection is not None:
        yield "training windows", training_windows(look)
        yield "stopping windows", judging_windows(look, look.split.stopping_index())
        yield "choosing windows", judging_windows(look, look.split.choosing_index())
    yield "scalers", scalers(look)
    if look.carried.selection is not None:
        yield "losses of every step", records(look)
        yield "chosen steps", chosen_steps(look)
        yield "fitted weights", weights(look)
        yield "selection", selection(look)
        yield "model cards", cards(look)
    for model, frame in sorted(by_model(look.forecasts).items()):
        yield f"forecasts of {model}", forecasts(frame)
    yield "scores of windows that end before", scores(look)


def validated_rows(look: Look) -> Evidence:
    """y by time, of every point that stays."""
    y = look.rows["y"].fill_null(float("nan")).to_numpy()
    return {name: Piece(look.times[look.span(name)], y[look.span(name)]) for name in look.known()}


def stored_windows(look: Look) -> Evidence:
    """The same points as the windows hold them, and the seasons."""
    values, labels = look.windows.values, np.array(["short season", "long season"])
    out = {name: Piece(look.times[look.span(name)], np.asarray(values[look.span(name)])) for name in look.known()}
    return out | {f"{n}, steps of a": Piece(labels, look.windows.periods[look.number[n]]) for n in look.known()}


def cuts(look: Look) -> Evidence:
    """Every origin of every series, where its training ends, and the least history of a training window."""
    split = look.split
    ends = np.stack([split.training(look.windows).end, split.tuning(look.windows).end])
    origins = np.concatenate([split.test, split.validation, ends])  # (K + V + 2, N)
    labels = [f"test cutoff {k + 1}" for k in range(len(split.test))]
    labels += [f"validation window {v + 1}" for v in range(len(split.validation))] + ["end of training", "of tuning"]
    out = {name: Piece(np.array(labels), origins[:, look.number[name]]) for name in look.known()}
    return out | {"all series": Piece(np.array(["least history"]), np.array([split.history]))}


def training_windows(look: Look) -> Evidence:
    """Every window of every step, whole."""
    return {f"step {n}": _whole(batch, range(len(batch.context))) for n, batch in enumerate(look.training, 1)}


def judging_windows(look: Look, index: Index) -> Evidence:
    """Validation windows, whole."""
    return {"window": _whole(look.validation(index), look.named(index))}


def _whole(batch: Batch, labels: Any) -> Piece:
    """(B, T + H + S): context, target and seasons."""
    return Piece(np.array(labels, dtype=str), torch.cat([part.double() for part in batch], 1).numpy())


def scalers(look: Look) -> Evidence:
    """Level and spread (B, 2) of every window that is fitted, judged or forecast, as the network itself takes them."""
    out: Evidence = {}
    if look.carried.selection is not None:
        for step, batch in enumerate(look.training, 1):
            out[f"training step {step}"] = Piece(np.arange(len(batch.context)).astype(str), scales(look, batch))
        for kind, index in (("stopping", look.split.stopping_index()), ("choosing", look.split.choosing_index())):
            out[kind] = Piece(np.array(look.named(index), dtype=str), scales(look, look.validation(index)))
    for cutoff in range(look.cutoff + 1):
        index = look.split.test_index(cutoff)
        batch = until_cutoff(look.windows, index).gather(index, look.card.model.context, 0)
        out[f"test cutoff {cutoff + 1}"] = Piece(np.array(look.named(index), dtype=str), scales(look, batch))
    return out


def scales(look: Look, batch: Batch) -> Array:
    """(B, 2) level and spread."""
    if not len(batch.context):
        return np.zeros((0, 2))
    with torch.no_grad():
        _, scale = look.network(batch.context, batch.periods, min(look.carried.windows.horizon, look.card.horizon))
    return torch.cat([scale.level, scale.spread], 1).numpy()


def _of_candidates(look: Look, values: Callable[[Any], tuple[list[str], list[Any]]]) -> Evidence:
    """Something of every contender, by its strategy."""
    chosen = look.carried.selection
    assert chosen is not None
    made = {c.model.strategy: values(c) for c in chosen.contenders}
    return {name: Piece(np.array(labels, dtype=str), np.array(found)) for name, (labels, found) in made.items()}


def _record(contender: Any) -> dict[str, Any]:
    return read_record(contender.model.folder)


def records(look: Look) -> Evidence:
    """Losses, rate and gradient norm at every validation of every training."""

    def values(contender: Any) -> tuple[list[str], list[float]]:
        rows = _record(contender)["history"]
        found = {f"step {row['step']}, {k}": float(v) for row in rows for k, v in row.items() if k not in TIMED}
        return list(found), list(found.values())

    return _of_candidates(look, values)


def chosen_steps(look: Look) -> Evidence:
    """The step whose weights were kept, and its loss."""

    def values(contender: Any) -> tuple[list[str], list[float]]:
        found = {k: float(v) for k, v in _record(contender).items() if k in ("best_step", "best_loss")}
        return list(found), list(found.values())

    return _of_candidates(look, values)


def weights(look: Look) -> Evidence:
    """The digest of every candidate's weights."""
    return _of_candidates(look, lambda c: (["digest"], [c.model.weights]))


def selection(look: Look) -> Evidence:
    """What ranks candidates, and what was said of the choice."""
    found = look.carried.selection
    assert found is not None
    choice = {"the choice": Piece(np.array(["chosen", "reason"]), np.array([found.chosen, found.reason]))}
    return choice | _of_candidates(look, lambda c: (["validation loss", "note"], [repr(c.validation_loss), c.note]))


def cards(look: Look) -> Evidence:
    """Every field of every card, but for the digests of the data and what is said of new series."""

    def values(contender: Any) -> tuple[list[str], list[str]]:
        card = load_card(contender.model.folder).model_dump(mode="json", exclude={"lineage"})
        card["seen"] = {name: time for name, time in card["seen"].items() if name in look.kept}
        return list(card), [json.dumps(value, sort_keys=True) for value in card.values()]

    return _of_candidates(look, values)


def by_model(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(name): own for (name,), own in frame.partition_by("model", as_dict=True).items()}


def forecasts(frame: pl.DataFrame, past: bool = False) -> Evidence:
    """Deciles (steps, Q) of one model by series, at the cutoffs up to this one; `past`: at the later ones."""
    own = frame.filter((pl.col("cutoff") > pl.col("end")) if past else (pl.col("cutoff") <= pl.col("at")))
    parts = own.partition_by("unique_id", as_dict=True, maintain_order=True).items()
    label = pl.format("{} from {}", _said("ds"), _said("cutoff"))
    return {
        str(name): Piece(part.select(label).to_series().to_numpy(), part.select(DECILES).to_numpy())
        for (name,), part in parts
    }


def scores(look: Look) -> Evidence:
    """Metrics of windows whose last step stays: neither forecast nor truth was changed.

    In single precision: how Polars cuts a sum into parts, and so its last bit, depends on the number of series.
    """
    ends = look.forecasts.group_by("model", "unique_id", "cutoff").agg(pl.col("ds").max(), pl.col("end").first())
    kept = ends.filter(pl.col("ds") <= pl.col("end"))
    found = pl.read_parquet(look.carried.evaluation.folder / "scores.parquet")
    own = found.join(kept, on=["model", "unique_id", "cutoff"], how="semi").sort("model", "unique_id", "cutoff")
    label = pl.format("{} from {}", pl.col("model"), _said("cutoff"))
    values = own.select(label.alias("label"), "unique_id", *(pl.col(c).cast(pl.Float64) for c in SCORES))
    parts = values.partition_by("unique_id", as_dict=True, maintain_order=True).items()
    numbers = {
        str(name): part.select(SCORES).fill_null(float("nan")).to_numpy().astype(np.float32) for (name,), part in parts
    }
    return {str(name): Piece(part["label"].to_numpy(), numbers[str(name)]) for (name,), part in parts}
