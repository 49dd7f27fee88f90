"""The figures of a run. Each is drawn once, for MLflow as PNG and for the report as SVG."""

import io
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any, get_args

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnn_model.config import QUANTILES, Strategy
from tasks.handles import Effect, Selection
from tasks.intervals import Interval
from tasks.metrics import calibration, per_step
from tasks.significance import WORST

HISTORY_SHOWN = 5  # horizons of history drawn before a forecast
INK = "#1b1f23"  # lines and letters; in a page they take the colour of its text
WIDE, SMALL = (4.6, 3.6), (3.4, 2.7)  # inches, so that letters can be read on a phone
COLOURS = (  # the first six are of Okabe and Ito, 2008, "Color universal design"
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#b0a000",
    "#8c564b",
    "#5e3c99",
    "#d6336c",
)
CANDIDATES = dict(zip(get_args(Strategy), COLOURS, strict=True))  # one colour in every figure of every run
GREY, DASHES = "#888888", ("--", ":", "-.")  # what is no candidate
BANDS = (("0.1", "0.9", 0.18), ("0.2", "0.8", 0.22), ("0.3", "0.7", 0.28), ("0.4", "0.6", 0.34))
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": INK,
    "text.color": INK,
}  # an id may hold a $
STYLE |= {"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.titlecolor": INK}
BARE = {"Date": None, "Creator": None, "Format": None, "Type": None}  # equal runs give equal pages


def canvas(size: tuple[float, float], rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of `size` inches, and its axes from top to bottom."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        every = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    return figure, every


def legend(figure: Figure, columns: int = 3) -> None:
    """What the lines are, below all axes; nothing where there is none."""
    if any(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8, labelcolor=INK)


def looks(names: Sequence[str], chosen: str) -> dict[str, dict[str, Any]]:
    """How each model's line is drawn: candidates in colour, baselines grey and broken, the chosen one thick."""
    dashes = cycle(DASHES)
    return {
        name: {
            "color": CANDIDATES.get(name, COLOURS[0] if name == chosen else GREY),
            "linestyle": "-" if name in CANDIDATES or name == chosen else next(dashes),
            "linewidth": 2.8 if name == chosen else 1.2,
            "zorder": 3 if name == chosen else 2,
        }
        for name in names
    }


def learning_curves(selection: Selection) -> Figure:
    """Loss of every candidate that was trained on the windows that stop a training, over its steps.

    The others have none there: the loss that ranks all candidates is one on other windows.
    """
    figure, (axes,) = canvas(WIDE)
    trained = {c.model.strategy: c.history for c in selection.contenders if c.history}
    for name, style in looks(list(trained), selection.chosen).items():
        steps, _, validation = zip(*trained[name], strict=True)
        axes.plot(steps, validation, marker="o", markersize=2.5, label=name, **style)
    axes.set(xlabel="step", ylabel="validation loss (scaled space)")
    axes.set_title(f"Fine-tuning: {selection.chosen} was chosen")
    legend(figure)
    return figure


def picks(scores: pl.DataFrame, model: str) -> list[tuple[str, dict[str, Any]]]:
    """The best, the median and the worst series of a model by MASE at their last cutoff; none without any scale."""
    own = scores.filter((pl.col("model") == model) & pl.col("MASE").is_not_null())
    latest = own.filter(pl.col("cutoff") == pl.col("cutoff").max().over("unique_id")).sort("MASE", "unique_id")
    places = {"best": 0, "median": latest.height // 2, "worst": latest.height - 1} if latest.height else {}
    return [(title, latest.row(place, named=True)) for title, place in places.items()]


def fan_charts(history: pl.DataFrame, forecasts: pl.DataFrame, scores: pl.DataFrame, model: str) -> Figure:
    """The chosen model at the last cutoff of its best, median and worst series by MASE, one above the other."""
    figure, every = canvas((WIDE[0] + 1, 8), rows=3)
    for axes, (title, row) in zip(every, picks(scores, model), strict=False):
        draw_fan(axes, *fan_rows(history, forecasts, row, model))
        axes.legend(fontsize=8, frameon=False)
        axes.set_title(f"{title}: {shorten(row['unique_id'])}, MASE {row['MASE']:.3f}", fontsize=9, parse_math=False)
    return figure


def fan_chart(history: pl.DataFrame, forecasts: pl.DataFrame, row: dict[str, Any], model: str) -> Figure:
    """One of them by itself."""
    figure, (axes,) = canvas(SMALL)
    draw_fan(axes, *fan_rows(history, forecasts, row, model))
    return figure


def fan_rows(
    history: pl.DataFrame, forecasts: pl.DataFrame, row: dict[str, Any], model: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is drawn of one series: the end of its history, and its forecast beside the truth."""
    one = (pl.col("unique_id") == row["unique_id"]) & (pl.col("cutoff") == row["cutoff"])
    ahead = forecasts.filter((pl.col("model") == model) & one).sort("step")
    past = history.filter((pl.col("unique_id") == row["unique_id"]) & (pl.col("ds") <= row["cutoff"]))
    return past.tail(HISTORY_SHOWN * ahead.height), ahead


def draw_fan(axes: Axes, past: pl.DataFrame, ahead: pl.DataFrame) -> None:
    """History, truth, median and the bands between opposite deciles."""
    axes.plot(past["ds"], past["y"], color=INK, linewidth=1, label="history")
    for low, high, shade in BANDS:
        axes.fill_between(ahead["ds"], ahead[low], ahead[high], color=COLOURS[0], alpha=shade, linewidth=0)
    axes.plot(ahead["ds"], ahead["0.5"], color=COLOURS[0], label="median; bands: opposite deciles")
    axes.plot(ahead["ds"], ahead["y"], color=COLOURS[1], marker=".", markersize=4, label="truth")
    dates = AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(dates)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))  # type: ignore[no-untyped-call]


def error_by_step(forecasts: pl.DataFrame, scores: pl.DataFrame, chosen: str = "") -> Figure:
    """MASE of every model against the distance ahead."""
    figure, (axes,) = canvas(WIDE)
    names = forecasts["model"].unique(maintain_order=True).to_list()
    for name, style in looks(names, chosen).items():
        own = pl.col("model") == name
        steps = per_step(forecasts.filter(own), scores.filter(own))
        axes.plot(steps["step"], steps["MASE"], marker=".", markersize=4, label=name, **style)
    axes.set(xlabel="steps ahead", ylabel="MASE")
    axes.set_title("Error by horizon step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure)
    return figure


def calibration_chart(forecasts: pl.DataFrame, chosen: str = "") -> Figure:
    """Share of truths at or below each decile; the diagonal is calibrated."""
    figure, (axes,) = canvas((WIDE[0], WIDE[0]))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    names = forecasts["model"].unique(maintain_order=True).to_list()
    for name, style in looks(names, chosen).items():
        shares = calibration(forecasts.filter(pl.col("model") == name))
        axes.plot(QUANTILES, shares, marker=".", markersize=4, label=name, **style)
    axes.set(xlabel="decile", ylabel="share of truths at or below it", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Calibration")
    legend(figure)
    return figure


def interval_chart(found: dict[str, Interval], label: str, chosen: str = "", middle: float | None = None) -> Figure:
    """One line per name with its figure and its interval, the first on top; `middle` is where nothing differs."""
    figure, (axes,) = canvas((WIDE[0], 0.8 + 0.27 * len(found)))
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    if middle is not None:
        axes.axvline(middle, color=GREY, linewidth=1)
    for place, (name, one) in enumerate(found.items()):
        colour = COLOURS[0] if name == chosen else GREY
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.6 if name == chosen else 1.4)
        axes.plot(one.value, place, marker="o", markersize=5, color=colour)
    axes.set_yticks(range(len(found)), [shorten(name) for name in found], parse_math=False)
    axes.set(xlabel=label, ylim=(len(found) - 0.5, -0.5))
    return figure


def effects_chart(effects: Sequence[Effect], champion: str) -> Figure:
    """Gain of the challenger on the champion in every part, with its interval where that is known."""
    ends = [(e.low, e.high) if e.low > WORST else (float("nan"), float("nan")) for e in effects]
    found = {
        effect.part: Interval(100 * effect.gain, 100 * low, 100 * high)
        for effect, (low, high) in zip(effects, ends, strict=True)
    }
    return interval_chart(found, f"gain on {shorten(champion)}, %; right is better", "all", middle=0.0)


def svg(figure: Figure, name: str, alt: str) -> str:
    """A figure as an element of a page: letters as text, no titles (captions say it), nothing fetched."""
    for axes in figure.axes:
        axes.set_title("")
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata=BARE)
    element = out.getvalue().partition("<svg")[2]
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    inner = re.sub(r'<g id="[^"]*">', "<g>", element.partition(">")[2]).replace(INK, "currentColor")
    inner = re.sub(r"<!--.*?-->", "", inner, flags=re.DOTALL)
    about = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {links} viewBox="0 0 {width} {height}" role="img" aria-label="{about}">{inner}'


def shorten(name: str) -> str:
    """A name that leaves room for the figure."""
    return name if len(name) <= 32 else f"{name[:31]}…"
