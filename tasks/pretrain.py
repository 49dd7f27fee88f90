"""Pretraining: a corpus of windows in, a model folder out, every validation logged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from rnn_model.artefact import digest_json, open_checked
from rnn_model.checkpoint import ModelCard, load_model, save_model, weights_digest
from rnn_model.config import FitConfig, ModelConfig, SyntheticConfig
from rnn_model.corpus import generate
from rnn_model.errors import DataError, ServiceError
from rnn_model.network import Network, build_network
from rnn_model.training import FitResult, Material, Watch, fit, set_residual_spread
from rnn_model.windows import Windows, load_windows, save_windows
from tasks.config import PretrainConfig, TrackingConfig, code_digest, home
from tasks.contract import frame_windows
from tasks.frequency import parse_frequency
from tasks.handles import Corpus, Dataset, Model, Run
from tasks.progress import advance, bar, training_progress
from tasks.tracking import child, fetch_model, log_metrics, log_params

HELD_OUT = 0.05  # share of the source's series that validate the pretraining


@task
def synthesise(config: SyntheticConfig, freq: str, seed: int) -> Corpus:
    """The synthetic corpus for a frequency, under data/windows; made once for equal arguments."""
    periods = config.periods or tuple(sorted({1, parse_frequency(freq).periods[0]}))
    key = digest_json(["synthetic", config.model_dump(mode="json"), periods, seed, code_digest()])
    folder = home() / "windows" / f"synthetic-{key[:16]}"
    if not folder.is_dir():
        with bar(config.series, "synthetic corpus", "series") as shown:
            corpus = generate(config, periods, seed, advance(shown))
        save_windows(corpus, folder, {"periods": periods, "seed": seed})
    return Corpus(folder=folder, fingerprint=key, name="synthetic", freq=freq, series=config.series)


@task
def collect(source: Dataset, target: Dataset | None) -> Corpus:
    """A real collection as a corpus, without the series that also stand in the target."""
    return collect_windows(source, target, home() / "windows")


def collect_windows(source: Dataset, target: Dataset | None, root: Path) -> Corpus:
    """Series of `source` whose values do not occur in `target` under any name. Raises DataError if none is left."""
    frame = pl.read_parquet(open_checked(source.folder) / "data.parquet")
    known = series_digests(pl.read_parquet(open_checked(target.folder) / "data.parquet")) if target else {}
    twins = [name for digest, name in series_digests(frame).items() if digest in known]
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
        series=frame["unique_id"].n_unique(),
        left_out=len(twins),
    )


def series_digests(frame: pl.DataFrame) -> dict[str, str]:
    """Digest of each series' first 32 values -> its id: a longer copy of a series is found as well as an equal one."""
    heads = frame.group_by("unique_id", maintain_order=True).agg(pl.col("y").drop_nulls().head(32))
    return {digest_json(values): name for name, values in heads.iter_rows() if len(set(values)) > 2}


@task
def pretrain_model(
    corpus: Corpus, model: ModelConfig, config: PretrainConfig, horizon: int, seed: int, parent: Run
) -> Model:
    """Train a fresh network on the corpus, or take the model that equal settings already gave."""
    threads = torch.get_num_threads()
    settings = [
        model.model_dump(),
        config.model_dump(exclude={"from_"}),
        corpus.freq,
        horizon,
        seed,
        threads,
        code_digest(),
    ]
    folder = home() / "models" / f"pretrain-{digest_json([corpus.fingerprint, *settings])[:16]}"
    with child(parent, "pretrain", "pretrain", {"data.source": corpus.fingerprint}) as run:
        log_params(
            run, {"model": model.model_dump(mode="json"), "pretrain": config.model_dump(mode="json"), "seed": seed}
        )
        if not folder.is_dir():
            network = build_network(model, horizon, seed)
            with training_progress(run, "pretrain", config.steps) as watch:
                result = fit_corpus(network, load_windows(corpus.folder), config, seed, watch)
            card = ModelCard(
                model=model,
                freq=corpus.freq,
                periods=parse_frequency(corpus.freq).periods,
                horizon=horizon,
                strategy="pretrain",
                lineage={"source": corpus.fingerprint, "code": code_digest()},
            )
            history = [(p.step, p.train_loss, p.validation_loss) for p in result.history]
            save_model(network, card, folder, {"history": history, "best_step": result.best_step, "threads": threads})
        made, _ = load_model(folder)
        table = training_table(folder)
        log_metrics(run, {"val/best_loss": min(row["val/loss"] for row in table)}, int(table[-1]["step"]))
    about = (
        f"pretraining on {corpus.name}, {corpus.series} series ({corpus.left_out} left out: they stand in the target)"
    )
    create_table_artifact(table=table, key="pretraining", description=about)
    return Model(folder=folder, weights=weights_digest(made), strategy="pretrain", context=model.context, run=run)


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=lambda _task, _run, state: is_service_error(state))
def start_from(name: str, config: TrackingConfig) -> Model:
    """A model that is already there, in place of pretraining: a folder, an MLflow address or a run id."""
    folder = fetch_model(name, config)
    network, card = load_model(folder)
    return Model(folder=folder, weights=weights_digest(network), strategy=card.strategy, context=card.model.context)


def is_service_error(state: State[Any]) -> bool:
    """Whether a task failed because a server did not answer: the only failure worth another try."""
    return isinstance(state.result(raise_on_failure=False), ServiceError)


def fit_corpus(network: Network, windows: Windows, config: FitConfig, seed: int, watch: Watch) -> FitResult:
    """Fit on all but the last series of a corpus, keep the weights that do best on those."""
    held = max(1, round(HELD_OUT * len(windows)))
    ends = windows.end.copy()
    ends[-held:] = 0
    context, horizon = network.config.context, network.horizon
    last = windows.at(windows.end - horizon).take(slice(len(windows) - held, None))
    validation = windows.batches(last.take(np.nonzero(last.origin >= 1)[0]), context, horizon)
    draw = windows.until(ends).drawing(config.batch_size, context, horizon, 1, seed)
    result = fit(network, Material(draw, validation), config, watch)
    set_residual_spread(network, validation)
    return result


def training_table(folder: Path) -> list[dict[str, float]]:
    """What training.json beside a model says of its validations."""
    history = json.loads((folder / "training.json").read_text())["history"]
    return [{"step": step, "train/loss": train, "val/loss": val} for step, train, val in history]
