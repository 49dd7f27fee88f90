"""How fast a model forecasts: python benchmarks/inference_rate.py [--model FOLDER] [--threads 2]

1,428 monthly series, as many as the M3 competition has, 18 steps ahead as one batch, from arrays in memory to deciles:
gathering, both passes of the sign flip, of values and of logarithms (all series are positive, which costs most), and
the inversion of the scale. Loading the model is not counted.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from rnn_model.checkpoint import load_model
from rnn_model.corpus import make_chunk
from rnn_model.seeding import numpy_rng
from rnn_model.windows import Windows, from_arrays
from tasks.config import BASE_FOLDER
from tasks.forecaster import forecast_windows

SERIES, PERIOD, HORIZON, ROUNDS = 1428, 12, 18, 5
SHORTEST, LONGEST = 48, 130  # points


def monthly_series() -> Windows:
    """Synthetic series of every family, with their artefacts."""
    rng = numpy_rng(0, "inference rate")
    lengths = rng.integers(SHORTEST, LONGEST + 1, SERIES)
    made = make_chunk(rng, np.full(SERIES, PERIOD), lengths, LONGEST)
    made += 1 - np.nanmin(made, 1, keepdims=True)
    return from_arrays([row[:n] for row, n in zip(made, lengths, strict=True)], np.full((SERIES, 2), PERIOD))


def main(folder: Path, threads: int) -> None:
    """Forecast with one thread and with `threads`, and print the median of a few rounds of each."""
    network, card = load_model(folder)
    windows = monthly_series()
    index = windows.at(windows.end)
    print(
        f"{SERIES} series of {SHORTEST} to {LONGEST} points, horizon {HORIZON}, context {card.model.context}: {folder}"
    )
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        forecast_windows(network, windows, index, HORIZON)  # the first pass of a process is slower
        taken = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            forecast_windows(network, windows, index, HORIZON)
            taken.append(time.perf_counter() - started)
        seconds = statistics.median(taken)
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        print(f"threads {count}: {seconds:.2f} s ({spread}), {SERIES / seconds:,.0f} series per second")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BASE_FOLDER, help="model folder; none: the base model")
    parser.add_argument("--threads", type=int, default=2, help="threads of the second measurement")
    options = parser.parse_args()
    main(options.model, options.threads)
