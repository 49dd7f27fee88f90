"""What benchmarks/peers.py runs: each peer's exact versions and program, and a program timed, in silence."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rnn_model.errors import ServiceError

Command = Sequence[str | Path]
STEPS = 1000  # of a training, by NeuralForecast's default
PINS = {
    "neuralforecast": (
        "neuralforecast==3.3.0",
        "pytorch-lightning==2.6.6",
        "torch==2.13.0",
        "utilsforecast==0.2.17",
        "coreforecast==0.0.20",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==26.0.1",
        "ray==2.60.0",
        "optuna==5.0.0",
    ),
    "keras": ("keras==3.15.1", "torch==2.13.0", "numpy==2.4.6"),
}
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "KERAS_BACKEND": "torch",
}

# GRU with its documented defaults, but for the loss (deciles instead of the median alone), and zeros before a series
# that is shorter than its input, without which it refuses the shortest ones.
NEURALFORECAST = """
import json, sys
import pandas
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import GRU

job = json.loads(sys.argv[1])
if job["load"]:
    engine = NeuralForecast.load(job["load"])
else:
    quiet = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    model = GRU(
        h=job["horizon"], loss=MQLoss(quantiles=job["levels"]), start_padding_enabled=True,
        max_steps=job["max_steps"], random_seed=job["seed"], **quiet,
    )
    engine = NeuralForecast(models=[model], freq=job["freq"])
if job["fit"]:
    engine.fit(pandas.read_parquet(job["fit"]))
if job["save"]:
    engine.save(job["save"], save_dataset=False)
if job["predict"]:
    forecast = engine.predict(pandas.read_parquet(job["predict"]))
    forecast.columns = ["unique_id", "ds", *map(str, job["levels"])]
    forecast.to_parquet(job["output"])
"""

KERAS = """
import json, sys, time
import keras, numpy, torch

job = json.loads(sys.argv[1])
batch, context, horizon, steps = job["batch"], job["context"], job["horizon"], job["steps"]
keras.utils.set_random_seed(job["seed"])
random = numpy.random.default_rng(job["seed"])
x = random.standard_normal((steps * batch, context, 1), dtype="float32")
y = random.standard_normal((steps * batch, horizon), dtype="float32")


class Bare(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = torch.nn.RNN(1, 50, num_layers=2, batch_first=True)
        self.dense = torch.nn.Linear(50, horizon)

    def forward(self, windows):
        return self.dense(self.cells(windows)[0][:, -1])


def bare_seconds():
    network, inputs, target = Bare(), torch.from_numpy(x[:batch]), torch.from_numpy(y[:batch])
    optimiser = torch.optim.Adam(network.parameters())
    started = time.perf_counter()
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(network(inputs), target).backward()
        optimiser.step()
    return time.perf_counter() - started


def fit_seconds():
    layers = keras.layers
    cells = [layers.SimpleRNN(50, return_sequences=True), layers.SimpleRNN(50)]
    network = keras.Sequential([layers.Input((context, 1)), *cells, layers.Dense(horizon)])
    network.compile(optimizer="adam", loss="mse")
    network.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)  # what it builds once is not counted
    started = time.perf_counter()
    network.fit(x, y, batch_size=batch, verbose=0)
    return time.perf_counter() - started


pairs = [(bare_seconds(), fit_seconds()) for _ in range(job["rounds"])]
print(json.dumps([steps * batch / min(times) for times in zip(*pairs)]))
"""


class Spent(NamedTuple):
    """What a program took: seconds by the clock, and CPU seconds of it and its children."""

    seconds: float
    cpu: float


def installed(name: str, envs: Path) -> Path:
    """The interpreter of a peer's own environment, which is made where it is not there at these versions."""
    folder = envs / name
    ready, python, pins = folder / ".ready", folder / "bin" / "python", "\n".join(PINS[name])
    if not ready.is_file() or ready.read_text() != pins:
        say(f"installing {', '.join(PINS[name])}")
        run([sys.executable, "-m", "venv", "--clear", folder])
        run([python, "-m", "pip", "install", "--quiet", *PINS[name]])
        ready.write_text(pins)
    return python


def timed(command: Command, work: Path, threads: int) -> tuple[Spent, str]:
    """What a program took in the folder `work`, and what it printed.

    Carryover's home is in there too, so that it finds nothing ready.
    """
    clock, cpu = time.perf_counter(), cpu_of_children()
    printed = run(command, work, QUIET | {"OMP_NUM_THREADS": str(threads), "CARRYOVER_HOME": str(work / "home")})
    return Spent(time.perf_counter() - clock, cpu_of_children() - cpu), printed


def run(command: Command, folder: Path | None = None, variables: dict[str, str] | None = None) -> str:
    """What a program printed. Raises ServiceError with the last line of its complaint where it fails."""
    done = subprocess.run(command, cwd=folder, env=os.environ | (variables or {}), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        words = " ".join(map(str, command)).splitlines()[0]  # a program given as text begins on the next line
        raise ServiceError(f"{words} ended with {done.returncode}: {last}")
    return done.stdout


def cpu_of_children() -> float:
    """CPU seconds of every program that was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def say(words: str) -> None:
    """Progress, beside the table."""
    print(words, file=sys.stderr, flush=True)
