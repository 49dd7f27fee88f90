"""Draw one series of each family of the synthetic corpus: python benchmarks/families.py docs/families.png"""

import sys

import numpy as np
from matplotlib.figure import Figure

from rnn_model.corpus import add_artefacts
from rnn_model.seeding import numpy_rng
from rnn_model.synthetic import FAMILIES

POINTS, PERIOD, EACH = 144, 12, 3


def main(path: str) -> None:
    """Three series of every family, monthly, before and (last row) after the artefacts."""
    figure = Figure(figsize=(10, 1.7 * (len(FAMILIES) + 1)), layout="constrained")
    grid = figure.subplots(len(FAMILIES) + 1, EACH)
    lengths = np.full(EACH, POINTS, dtype=np.int64)
    for row, (name, (family, share)) in zip(grid, FAMILIES.items(), strict=False):
        made = family(numpy_rng(4, name), np.full(EACH, PERIOD, dtype=np.int64), lengths, POINTS)
        for axes, values in zip(row, made, strict=True):
            axes.plot(values, linewidth=0.9, color="#0072b2")
            axes.set_title(f"{name} ({share:.0%})", fontsize=8)
            axes.tick_params(labelsize=6)
    decomposed = FAMILIES["decomposed"][0](
        numpy_rng(4, "decomposed"), np.full(200, PERIOD), np.full(200, POINTS), POINTS
    )
    broken = add_artefacts(numpy_rng(4, "artefacts"), decomposed, np.full(200, POINTS, dtype=np.int64))
    holes = broken[np.argsort(-np.isnan(broken).sum(1))[[0, 4, 8]]]
    for axes, values in zip(grid[-1], holes, strict=True):
        axes.plot(values, linewidth=0.9, color="#d55e00")
        axes.set_title("with missing points and blocks", fontsize=8)
        axes.tick_params(labelsize=6)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1])
