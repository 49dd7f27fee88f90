"""Carryover beside its alternatives on one data set: python benchmarks/peers.py FOLDER

FOLDER holds datasets.json and one Parquet file for each name, as for `carryover leaderboard`; the last horizon of every
series is the test. A peer is installed at exact versions in a virtual environment of its own and runs in its own
interpreter, telemetry off; series and forecasts travel as Parquet, and all of them are scored by tasks/metrics.py.
Seconds are those of a whole program: start, imports, training where it trains, forecasts; CPU seconds are what it and
its own children computed, which says more than the clock where something else runs. The other rows are rates: a
training loop's windows per second over those of bare forward, backward and step on one resident batch.
"""

import argparse
import json
import platform
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from peers_programs import KERAS, NEURALFORECAST, PINS, STEPS, Command, Spent, installed, say, timed
from rich.console import Console
from rich.table import Table

from rnn_model.config import DECILES, QUANTILES, SyntheticConfig
from rnn_model.corpus import generate
from rnn_model.errors import CarryoverError, DataError
from tasks.config import BASE, home
from tasks.frequency import grid_time, parse_frequency
from tasks.leaderboard import CHOSEN, BenchmarkSet, read_sets
from tasks.metrics import overall, per_series

CORPUS, SERIES = "corpus", 4096  # the synthetic corpus as a source, and its size
START = datetime(1900, 1, 1)  # of its series: a Monday, and the first of a year
RATE = Path(__file__).with_name("training_rate.py")


@dataclass(frozen=True)
class Row:
    """One line of the table: accuracy and seconds of a forecaster, or the rate of a training loop."""

    name: str
    mase: float | None = None
    wql: float | None = None
    seconds: float | None = None
    cpu: float | None = None
    windows_per_second: float | None = None
    of_bare: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Trial:
    """What everyone is given: a set of a folder, how to run, and a folder for what is written on the way."""

    asked: argparse.Namespace
    about: BenchmarkSet
    work: Path

    @property
    def history(self) -> Path:
        """The series without their last horizon: all that a forecaster sees."""
        return self.work / "history.parquet"

    def series(self, name: str) -> pl.DataFrame:
        """Every row of a set of the folder, in order."""
        frame = pl.read_parquet(self.asked.folder / f"{name}.parquet", columns=["unique_id", "ds", "y"])
        return frame.sort("unique_id", "ds")

    def timed(self, command: Command) -> tuple[Spent, str]:
        """What a program took, and what it printed; threads and an empty home are the same for all of them."""
        return timed(command, self.work, self.asked.threads)

    def python(self, name: str) -> Path:
        """The interpreter of a peer."""
        return installed(name, self.asked.envs.resolve())


def main(arguments: Sequence[str]) -> None:
    """Run everyone who was asked for, one after the other, and print the table."""
    asked = parse(arguments)
    about = read_sets(asked.folder, (asked.set,))[asked.set]
    asked.source = asked.source or [default_source(asked.folder, asked.set)]
    read_sets(asked.folder, tuple(name for name in asked.source if name != CORPUS))
    rows: list[Row] = []
    try:
        with TemporaryDirectory() as work:
            trial = Trial(asked, about, Path(work))
            split(trial.series(asked.set), about.horizon)[0].write_parquet(trial.history)
            for who in asked.only:
                for row in PARTS[who](trial):
                    rows.append(row)
    finally:
        report(rows, described(asked), asked.json)  # what was measured before something failed is worth its seconds


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="datasets.json and one Parquet file for each name")
    parser.add_argument("--set", default="m1_monthly", help="the set to forecast")
    parser.add_argument(
        "--source",
        nargs="+",
        help=f"what NeuralForecast is pretrained on: other sets of the folder, or {CORPUS} for Carryover's synthetic "
        f"series of the same frequency; none: the first other set of that frequency, else {CORPUS}",
    )
    parser.add_argument("--model", default=BASE, help="where Carryover starts: base or a model folder")
    parser.add_argument("--max-steps", type=int, default=STEPS, help="of each training of NeuralForecast's")
    parser.add_argument("--envs", type=Path, default=home() / "peers", help="folder of the peers' environments")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="who runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the table")
    return parser.parse_args(arguments)


def default_source(folder: Path, name: str) -> str:
    """The first other set of the folder with the frequency of this one, else the corpus."""
    known = read_sets(folder, ())
    rhythm = parse_frequency(known[name].freq).rhythm
    others = (other for other, set_ in known.items() if other != name and parse_frequency(set_.freq).rhythm == rhythm)
    return next(others, CORPUS)


def split(series: pl.DataFrame, horizon: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sorted series -> their rows before the last horizon, and that horizon with cutoff and step."""
    left = pl.len().over("unique_id") - pl.int_range(pl.len()).over("unique_id")  # rows from this one on
    history = series.filter(left > horizon)
    cutoffs = history.group_by("unique_id").agg(cutoff=pl.col("ds").max())
    future = series.with_columns(step=horizon + 1 - left).filter(pl.col("step") >= 1)
    return history, future.join(cutoffs, on="unique_id", maintain_order="left")


def score(trial: Trial, forecast: Path) -> tuple[float, float]:
    """MASE and WQL of a forecast file on the last horizon. Raises DataError where a forecast is missing."""
    history, future = split(trial.series(trial.asked.set), trial.about.horizon)
    columns = ["unique_id", "ds", *DECILES]
    joined = future.join(pl.read_parquet(forecast, columns=columns), on=columns[:2], how="left", maintain_order="left")
    missing = joined.filter(pl.any_horizontal(pl.col(DECILES).is_null())).height
    if missing:
        raise DataError(f"{missing} of {joined.height} steps have no forecast; one is needed for each")
    scores = overall(per_series(joined, history, trial.about.season))
    return scores["MASE"], scores["WQL"]


def neuralforecast(trial: Trial) -> Iterator[Row]:
    """NeuralForecast's GRU from scratch; and from each source: pretrained, zero-shot, fine-tuned."""
    python = trial.python("neuralforecast")
    steps = f"{trial.asked.max_steps} steps" + ("" if trial.asked.max_steps == STEPS else f" (its default: {STEPS})")
    yield peer_row(trial, python, "NeuralForecast GRU, from scratch", {"fit": trial.history}, f"trained {steps}")
    for source in trial.asked.source:
        data, saved = trial.work / f"source-{source}.parquet", trial.work / f"pretrained-{source}"
        frame = corpus(trial.about, trial.asked.seed) if source == CORPUS else trial.series(source)
        frame.write_parquet(data)
        say(f"NeuralForecast GRU, pretraining on {source}")
        spent = run_peer(trial, python, {"fit": data, "save": saved})
        size = frame["unique_id"].n_unique()
        yield Row(f"NeuralForecast GRU, pretraining on {source}", None, None, *spent, note=f"{size} series, {steps}")
        loaded = {"load": saved}
        yield peer_row(trial, python, f"NeuralForecast GRU, zero-shot from {source}", loaded, "pretraining not counted")
        tuned = loaded | {"fit": trial.history}
        yield peer_row(trial, python, f"NeuralForecast GRU, fine-tuned from {source}", tuned, f"{steps} more")


def peer_row(trial: Trial, python: Path, name: str, files: dict[str, Path], note: str) -> Row:
    """A program of NeuralForecast's that ends with forecasts of the histories."""
    say(name)
    output = trial.work / "peer.parquet"
    spent = run_peer(trial, python, files | {"predict": trial.history, "output": output})
    return Row(name, *score(trial, output), *spent, note=note)


def run_peer(trial: Trial, python: Path, files: dict[str, Path]) -> Spent:
    """What one program of NeuralForecast's took: load or make, fit, save, predict, as far as files are named."""
    job: dict[str, Any] = {"freq": trial.about.freq, "horizon": trial.about.horizon, "levels": QUANTILES}
    job |= {"max_steps": trial.asked.max_steps, "seed": trial.asked.seed}
    job |= dict.fromkeys(("load", "fit", "save", "predict", "output")) | {key: str(path) for key, path in files.items()}
    return trial.timed([python, "-c", NEURALFORECAST, json.dumps(job)])[0]


def corpus(about: BenchmarkSet, seed: int) -> pl.DataFrame:
    """Carryover's synthetic series as a long frame; what is missing in them repeats the value before or after."""
    windows = generate(SyntheticConfig(series=SERIES), (about.season,), seed)
    position = np.arange(len(windows.values)) - np.repeat(windows.offsets[:-1], windows.lengths)
    frame = pl.DataFrame(
        {"unique_id": np.repeat(np.arange(len(windows)), windows.lengths), "position": position, "y": windows.values}
    )
    ds = grid_time(parse_frequency(about.freq), pl.lit(START), pl.col("position"))
    known = pl.col("y").fill_nan(None).forward_fill().backward_fill().over("unique_id")
    return frame.select(pl.col("unique_id").cast(pl.String), ds=ds, y=known.cast(pl.Float64)).drop_nulls()


def carryover(trial: Trial) -> Iterator[Row]:
    """Carryover's model as it is, by `forecast`; and tuned and chosen, by `leaderboard`, beside the seasonal naive."""
    asked, about, output = trial.asked, trial.about, trial.work / "carryover.parquet"
    model = asked.model if asked.model == BASE else Path(asked.model).resolve()
    say("Carryover, zero-shot")
    target = {"path": trial.history, "freq": about.freq, "season": about.season, "max_quarantined": 1, "ended": "keep"}
    options = {"model": model, "window.horizon": about.horizon, "output": output}
    spent = trial.timed(own_command("forecast", options | {f"target.{key}": value for key, value in target.items()}))[0]
    yield Row("Carryover, zero-shot", *score(trial, output), *spent, note="pretraining not counted")
    say("Carryover, tuned and chosen")
    summary = trial.work / "summary.json"
    options = {"folder": asked.folder.resolve(), "sets": json.dumps([asked.set]), "model": model, "seed": asked.seed}
    options |= {"backtest.baselines": '["SeasonalNaive"]', "summary": summary}
    spent = trial.timed(own_command("leaderboard", options))[0]
    board = json.loads(summary.read_text())
    scores, selection = board["scores"][asked.set], board["sets"][asked.set]["selection"]
    note = f"{selection['chosen']}, of {len(selection['contenders'])} candidates"
    yield Row("Carryover, tuned and chosen", scores[CHOSEN]["MASE"], scores[CHOSEN]["WQL"], *spent, note=note)
    yield Row("seasonal naive", scores["SeasonalNaive"]["MASE"], scores["SeasonalNaive"]["WQL"])


def own_command(name: str, options: dict[str, Any]) -> list[str]:
    """A command line of Carryover's."""
    words = (word for option, value in options.items() for word in (f"--{option}", str(value)))
    return [sys.executable, "-m", "flows.cli", name, *words]


def rates(trial: Trial) -> Iterator[Row]:
    """The article's network: Keras' fit loop and Carryover's, each over bare compute of its own network."""
    say("Keras, SimpleRNN example")
    python, settings = trial.python("keras"), runpy.run_path(str(RATE))
    printed = trial.timed([sys.executable, RATE, "keras-example"])[1]
    batch, context = (int(number) for number in re.findall(r"(?:batch|context) (\d+)", printed))
    job = {"batch": batch, "context": context, "horizon": settings["HORIZON"], "steps": settings["STEPS"]}
    job |= {"rounds": settings["ROUNDS"], "seed": trial.asked.seed}
    bare, fit = json.loads(trial.timed([python, "-c", KERAS, json.dumps(job)])[1].splitlines()[-1])
    note = f"batch {batch}, context {context}, horizon {settings['HORIZON']}"
    yield Row("Keras fit, SimpleRNN example", windows_per_second=fit, of_bare=fit / bare, note=note)
    own = {name: float(rate.replace(",", "")) for name, rate in re.findall(r"(.+): (.+) windows per second", printed)}
    loop = own["loop, drawing"]
    yield Row("Carryover fit, keras-example", windows_per_second=loop, of_bare=loop / own["bare"], note=note)


PARTS: dict[str, Callable[[Trial], Iterator[Row]]] = {
    "neuralforecast": neuralforecast,
    "carryover": carryover,
    "keras": rates,
}


def described(asked: argparse.Namespace) -> dict[str, Any]:
    """What the table depends on: set, model, seed, threads, versions."""
    own = (f"{name}=={version(name)}" for name in ("carryover", "torch", "polars"))
    versions = {"here": f"python {platform.python_version()}, " + ", ".join(own)}
    versions |= {name: ", ".join(PINS[name]) for name in asked.only if name in PINS}
    return {
        "set": asked.set,
        "model": Path(asked.model).name,
        "seed": asked.seed,
        "threads": asked.threads,
        "versions": versions,
    }


def report(rows: list[Row], conditions: dict[str, Any], output: Path | None) -> None:
    """The table, and under it what it depends on; also as JSON where a file is named."""
    table = Table(title=f"{conditions['set']}, last horizon", title_justify="left")
    table.add_column("who", no_wrap=True)
    for name in ("MASE", "WQL", "seconds", "CPU s", "windows/s", "of bare"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in rows:
        figures = zip(asdict(row).values(), ("", ".3f", ".4f", ",.0f", ",.0f", ",.0f", ".2f", ""), strict=True)
        table.add_row(*("" if value is None else format(value, how) for value, how in figures))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(", ".join(f"{name} {conditions[name]}" for name in ("seed", "threads", "model")))
    for who, versions in conditions["versions"].items():
        print(f"{who}: {versions}")
    if output:
        output.write_text(json.dumps({"rows": [asdict(row) for row in rows]} | conditions, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CarryoverError as error:
        print(f"peers: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
