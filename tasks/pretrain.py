"""Pretraining: a corpus of windows in, a model folder out, every validation logged."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from rnn_model.artefact import digest_json, held, open_checked
from rnn_model.checkpoint import ModelCard, content_digest, load_model, read_record, save_model, weights_digest
from rnn_model.config import FitConfig, ModelConfig, Section, SyntheticConfig
from rnn_model.corpus import generate
from rnn_model.errors import DataError, IntegrityError, ServiceError
from rnn_model.network import Network, build_network
from rnn_model.parallel import announce, processes, together
from rnn_model.resume import States
from rnn_model.training import FitResult, Material, Watch, fit
from rnn_model.validation import set_residual_spread
from rnn_model.windows import HELD_OUT, LEAST_HISTORY, Windows, held_out_batches, load_windows, save_windows
from tasks.config import NOTHING, TrackingConfig, home
from tasks.contract import frame_windows
from tasks.handles import Corpus, Dataset, Model, Run
from tasks.machine import code_digest
from tasks.progress import advance, bar, replay_history, show_table, training_progress, training_record
from tasks.step import step
from tasks.tracking import child, fetch_model, log_folder, log_metrics, log_params

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

STRETCH, VARIED = 12, 8  # values that tell two series apart, and how many of them have to be distinct


@step
def synthesise(config: SyntheticConfig, freq: str, periods: tuple[int, int], longest: int, seed: int) -> Corpus:
    """The synthetic corpus for a frequency, under data/windows; made once for equal arguments.

    `periods` are the seasons that the target will state, `longest` the points of the longest series, where the
    config declares none.
    """
    config = config.model_copy(update={"length": config.length or longest})
    occurring = config.periods or tuple(sorted({1, periods[0]}))
    key = digest_json(["synthetic", config.model_dump(mode="json"), occurring, seed, code_digest("rnn_model")])
    folder = home() / "windows" / f"synthetic-{key[:16]}"
    if not folder.is_dir():
        with bar(config.series, "synthetic corpus", "series") as shown:
            corpus = generate(config, occurring, seed, advance(shown))
        save_windows(corpus, folder, {"periods": occurring, "seed": seed})
    return Corpus(folder=folder, fingerprint=key, name="synthetic", freq=freq, periods=periods, series=config.series)


@step
def collect(source: Dataset, target: Dataset | None) -> Corpus:
    """A real collection as a corpus, without the series that also stand in the target."""
    return collect_windows(source, target, home() / "windows")


def collect_windows(source: Dataset, target: Dataset | None, root: Path) -> Corpus:
    """Series of `source` no stretch of which occurs in `target`, under any name. Raises DataError if none is left."""
    frame = pl.read_parquet(open_checked(source.folder) / "data.parquet")
    twins: list[str] = []
    if target is not None:
        known = np.concatenate([*stretches(pl.read_parquet(open_checked(target.folder) / "data.parquet")).values()])
        twins = [name for name, own in stretches(frame).items() if np.isin(own, known).any()]
    frame = frame.filter(~pl.col("unique_id").is_in(twins))
    if frame.is_empty():
        raise DataError(f"{source.name}: every series also stands in the target; pretrain on other series")
    key = digest_json([source.fingerprint, sorted(twins), source.periods])
    folder = save_windows(frame_windows(frame, source.periods), root / f"source-{key[:16]}", {"left_out": twins})
    return Corpus(
        folder=folder,
        fingerprint=key,
        name=source.name,
        freq=source.freq,
        periods=source.periods,
        series=frame["unique_id"].n_unique(),
        left_out=len(twins),
    )


def stretches(frame: pl.DataFrame) -> dict[str, "np.ndarray[Any, np.dtype[np.uint64]]"]:
    """Series -> a hash of every STRETCH consecutive observed values: copies are found wherever they start.

    Stretches of fewer than VARIED distinct values do not count: patterns of small counts occur by chance.
    """
    out = {}
    for (name,), group in frame.drop_nulls("y").group_by("unique_id", maintain_order=True):
        values = group["y"].to_numpy()
        if len(values) < STRETCH:
            out[str(name)] = np.empty(0, dtype=np.uint64)
            continue
        bits = values.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # odd, so it mixes without losing anything
        bits ^= bits >> np.uint64(29)
        sliding = np.lib.stride_tricks.sliding_window_view
        powers = np.uint64(0x100000001B3) ** np.arange(STRETCH, dtype=np.uint64)  # wraps, as a rolling hash does
        hashes = (sliding(bits, STRETCH) * powers).sum(1, dtype=np.uint64)
        distinct = 1 + (np.diff(np.sort(sliding(values, STRETCH), axis=1)) != 0).sum(1)
        out[str(name)] = hashes[distinct >= VARIED]
    return out


@step
def pretrain_model(
    corpus: Corpus, model: ModelConfig, config: FitConfig, horizon: int, seed: int, parent: Run
) -> Model:
    """Train a fresh network on the corpus, or take the model that equal settings already gave, with its history."""
    code, threads = code_digest("rnn_model"), torch.get_num_threads()
    config = FitConfig(**config.model_dump(include=set(FitConfig.model_fields)))  # where a run starts is no part of it
    settings = [model.model_dump(), config.model_dump(), corpus.freq, corpus.periods]
    key = digest_json([corpus.fingerprint, *settings, horizon, seed, threads, processes(), code])
    folder = home() / "models" / f"pretrain-{key[:16]}"
    with child(parent, "pretrain", "pretrain", {"data.source": corpus.fingerprint}) as run:
        log_params(
            run, {"model": model.model_dump(mode="json"), "pretrain": config.model_dump(mode="json"), "seed": seed}
        )
        states = States(folder.with_suffix(".state"))
        with held(folder):
            if folder.is_dir():
                with bar(config.steps, "pretrain (kept)", "step") as shown:
                    shown.update(config.steps)
                replay_history(run, folder)
            else:
                job = Job(
                    corpus=corpus.folder, states=states.folder, model=model, fit=config, horizon=horizon, seed=seed
                )
                announce(job.model_dump_json())
                with training_progress(run, "pretrain", config.steps) as watch:
                    network, result = train(job, watch)
                card = ModelCard(
                    model=model,
                    freq=corpus.freq,
                    periods=corpus.periods,
                    horizon=horizon,
                    strategy="pretrain",
                    lineage={"source": corpus.fingerprint, "code": code},
                )
                save_model(
                    network, card, folder, training_record(result) | {"threads": threads, "processes": processes()}
                )
            states.clear()
        made, _ = load_model(folder)
        record = read_record(folder)
        log_metrics(run, {"val/best_loss": record["best_loss"]}, record["best_step"])
        log_folder(run, folder, "model")
    kept = ("step", "train_loss", "validation_loss", "windows_per_second")
    table = [{name: row[name] for name in kept} for row in record["history"]]
    about = f"{corpus.series} series of {corpus.name}; {corpus.left_out} left out, because they stand in the target"
    show_table(table=table, key="pretraining", description=about)
    weights, content = weights_digest(made), content_digest(folder)
    return Model(folder=folder, weights=weights, content=content, strategy="pretrain", context=model.context, run=run)


@step(retries=2, retry_delay_seconds=5, retry_condition_fn=lambda _task, _run, state: is_service_error(state))
def start_from(name: str, config: TrackingConfig, asked: ModelConfig | None = None) -> Model:
    """A model that is already there, in place of pretraining: a folder, an MLflow address or a run id.

    Raises IntegrityError (76) where a network other than the model's was `asked` for.
    """
    folder = fetch_model(name, config)
    network, card = load_model(folder)
    if asked is not None and asked not in (ModelConfig(), card.model):
        found, wanted = card.model.model_dump(), asked.model_dump()
        differing = ", ".join(f"{k} {wanted[k]} (it has {found[k]})" for k in found if found[k] != wanted[k])
        raise IntegrityError(
            f"model {name}: asked for another network: {differing}; leave the --model options out, or "
            f"pretrain such a network with --pretrain.from {NOTHING}"
        )
    about = {"weights": weights_digest(network), "content": content_digest(folder), "context": card.model.context}
    return Model(folder=folder, strategy=card.strategy, **about)


def is_service_error(state: "State[Any]") -> bool:
    """Whether a task failed because a server did not answer: the only failure worth another try."""
    return isinstance(state.result(raise_on_failure=False), ServiceError)


class Job(Section):
    """A pretraining as it is told to the other processes."""

    corpus: Path
    states: Path
    model: ModelConfig
    fit: FitConfig
    horizon: int
    seed: int


def train(job: Job, watch: Watch) -> tuple[Network, FitResult]:
    """A fresh network, fitted to the corpus."""
    network = build_network(job.model, job.horizon, job.seed)
    with together():
        return network, fit_corpus(network, load_windows(job.corpus), job.fit, job.seed, watch, States(job.states))


def assist() -> None:
    """What the other processes of torchrun do: take part in every pretraining that the first one announces."""
    while message := announce():
        train(Job.model_validate_json(message), Watch())


def fit_corpus(
    network: Network, windows: Windows, config: FitConfig, seed: int, watch: Watch, states: States | None = None
) -> FitResult:
    """Fit on all but the last series of a corpus, keep the weights that do best on those."""
    kept, _ = windows.hold_out(HELD_OUT)
    context, horizon = network.config.context, network.horizon
    validation = held_out_batches(windows, context, horizon, seed)
    draw = kept.drawing(config.batch_size, context, horizon, LEAST_HISTORY, seed, by_series=True)
    result = fit(network, Material(draw, validation), config, watch, states)
    set_residual_spread(network, validation)
    return result
