"""The report of a run as one HTML page that needs nothing else: no scripts, no requests, figures inside."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from rnn_model.config import QUANTILES
from tasks.figures import (
    calibration_chart,
    effects_chart,
    error_by_step,
    fan_chart,
    interval_chart,
    learning_curves,
    picks,
    svg,
)
from tasks.handles import Account, Contender, Effect, Evaluation, Model, Products, Run, Selection, Validated
from tasks.intervals import LEVEL, RESAMPLES, Interval, intervals
from tasks.machine import environment, in_words
from tasks.metrics import DEFINITIONS, calibration, per_step
from tasks.provenance import command_line, settings
from tasks.significance import WORST
from tasks.terminal import counted
from tasks.tracking import page

TEMPLATE = "page.html.j2"
COLUMNS = ("MASE", "SQL", "WQL", "coverage_80")  # of the leaderboard, where a backtest has them
QUARANTINE_SHOWN = 20  # series
MISSING = "\N{EN DASH}"  # where there is no figure
FEW = 20  # series; with fewer, percentile intervals are known to be too narrow


class Findings(Products):
    """Everything a report tells of, by name."""

    run: Run
    command: Literal["run", "evaluate"]
    sections: dict[str, Any]
    validated: Validated
    evaluation: Evaluation
    model: Model


@dataclass(frozen=True)
class Material:
    """The frames behind it, as the stages wrote them.

    `history` holds unique_id, ds, y; `forecasts` model, unique_id, cutoff, ds, step, y and the deciles; `scores` one
    line per (model, unique_id, cutoff); `quarantine` one per series set aside: unique_id, rule, at, rows, observed.
    """

    history: pl.DataFrame
    forecasts: pl.DataFrame
    scores: pl.DataFrame
    quarantine: pl.DataFrame


def render(findings: Findings, material: Material, now: datetime | None = None) -> str:
    """The page as HTML."""
    board = leaderboard(material.scores, findings.model.strategy)
    changed, same = settings(findings.sections)
    effects = findings.decision.effects if findings.decision else ()
    at = pl.col("at").dt.strftime("%Y-%m-%d %H:%M")  # Polars', for years that Python's own dates cannot hold
    return template().render(
        findings=findings,
        written=f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        address=page(findings.run),
        board=board,
        columns=[column for column in COLUMNS if column in next(iter(board.values()))],
        series=material.scores["unique_id"].n_unique(),
        constants={"level": round(100 * LEVEL), "resamples": RESAMPLES, "few": FEW, "shown": QUARANTINE_SHOWN}
        | {"worst": WORST},
        definitions=DEFINITIONS,
        segments=[effect for effect in effects if is_segment(effect)],
        drawn=drawn(findings, material, board),
        fans=fans(findings, material),
        deciles=reliability(findings, material),
        calibrated=calibrated(findings),
        sums=sums(findings.validated.account),
        set_aside=material.quarantine.height,
        quarantine=material.quarantine.head(QUARANTINE_SHOWN).with_columns(at).to_dicts(),
        changed=changed,
        same=same,
        command=command_line(findings.command, findings.sections),
        fingerprints=fingerprints(findings),
        environment=in_words(environment()),
    )


def template() -> Template:
    """The template; whatever is put into it is escaped, but for figures, which escape their own letters."""
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"digits": three_digits, "percent": percent, "counted": counted}
    return made.get_template(TEMPLATE)


def leaderboard(scores: pl.DataFrame, chosen: str) -> dict[str, dict[str, Interval]]:
    """Model -> its figures with their intervals, and its MASE relative to the chosen model's.

    The best MASE stands first, and of those that differ by nothing one could read, the chosen one.
    """
    known = [c for c in COLUMNS if c in scores.columns or c == "WQL"]
    found = {column: intervals(scores, column) for column in known}
    found["relative"] = intervals(scores, "MASE", against=chosen)
    mase = {name: round(float(np.nan_to_num(one.value, nan=np.inf)), 4) for name, one in found["MASE"].items()}
    order = sorted(mase, key=lambda name: (mase[name], name != chosen))
    return {name: {column: by_model[name] for column, by_model in found.items()} for name in order}


def drawn(findings: Findings, material: Material, board: dict[str, dict[str, Interval]]) -> dict[str, Markup]:
    """Every figure but the fans, by name, with its words for who cannot see it."""
    chosen, forecasts, scores = findings.model.strategy, material.forecasts, material.scores
    mase = {name: row["MASE"] for name, row in board.items()}
    figure = interval_chart(mase, "MASE", chosen)
    out = {"board": element(figure, "board", "MASE with intervals: " + listed((n, m.value) for n, m in mase.items()))}
    own = pl.col("model") == chosen
    steps = per_step(forecasts.filter(own), scores.filter(own)).fill_null(float("nan"))
    words = f"MASE of {chosen} by step: " + listed(steps.select("step", "MASE").head(12).iter_rows())
    out["steps"] = element(error_by_step(forecasts, scores, chosen), "steps", words)
    words = f"Share of truths at or below each decile of {chosen}: " + listed(reliability(findings, material))
    out["calibration"] = element(calibration_chart(forecasts, chosen), "calibration", words)
    selection, decision = findings.selection, findings.decision
    lowest = {c.model.strategy: min(row[2] for row in c.history) for c in trained(selection)}
    if selection is not None and lowest:
        words = "Lowest validation loss: " + listed(lowest.items())
        out["curves"] = element(learning_curves(selection), "curves", words)
    segments = [effect for effect in decision.effects if is_segment(effect)] if decision else []
    if decision and segments:
        words = "Gain by segment: " + listed((effect.part, effect.gain) for effect in segments)
        out["segments"] = element(effects_chart(segments, decision.champion), "segments", words)
    return out


def trained(selection: Selection | None) -> list[Contender]:
    """The candidates that have a learning curve."""
    return [contender for contender in selection.contenders if contender.history] if selection else []


def listed(pairs: Iterable[tuple[object, float]]) -> str:
    """Names with their figures, as one line."""
    return "; ".join(f"{name} {three_digits(value)}" for name, value in pairs)


def fans(findings: Findings, material: Material) -> list[dict[str, Any]]:
    """The fan charts with what their captions say."""
    found = []
    for title, row in picks(material.scores, findings.model.strategy):
        chart = fan_chart(material.history, material.forecasts, row, findings.model.strategy)
        alt = f"{title} series {row['unique_id']}: history, truth, median forecast and bands between opposite deciles"
        found.append(row | {"title": title, "figure": element(chart, f"fan {title}", alt)})
    return found


def element(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as part of the page."""
    return Markup(svg(figure, name, alt))


def reliability(findings: Findings, material: Material) -> list[tuple[float, float]]:
    """Each decile of the chosen model, and the share of truths at or below it."""
    own = material.forecasts.filter(pl.col("model") == findings.model.strategy)
    return list(zip(QUANTILES, calibration(own), strict=True))


def is_segment(effect: Effect) -> bool:
    """Whether an effect is that of a group of series, and not of all or of a step."""
    return "=" in effect.part and not effect.part.startswith("step=")


def sums(account: Account) -> list[tuple[str, int]]:
    """Where the rows went: they add up to the rows in."""
    aside = [(f"quarantined: {rule}", rows) for rule, rows in account.quarantined.items()]
    return [
        ("used: series that fill the context", account.used),
        ("used with padding: shorter series", account.padded),
        *aside,
    ]


def fingerprints(findings: Findings) -> dict[str, str]:
    """What equal runs have in common."""
    return {
        "data": findings.validated.dataset.fingerprint,
        "evaluation": findings.evaluation.fingerprint,
        f"weights of {findings.model.strategy}": findings.model.weights,
    }


def calibrated(findings: Findings) -> dict[str, str]:
    """Model -> what was done to its deciles, in words; empty where nothing was looked at."""
    words = {c.model.strategy: c.calibration for c in findings.selection.contenders} if findings.selection else {}
    return {name: words.get(name, "") for name in findings.evaluation.calibration}


def three_digits(value: float | None) -> str:
    """A figure as a person reads it: three digits that count, none of them cut; a dash for none."""
    if value is None or not np.isfinite(value):
        return MISSING
    exact = abs(value) >= 100
    words = f"{value:,.0f}" if exact else np.format_float_positional(value, 3, unique=False, fractional=False, trim="k")
    return words.replace("-", "\N{MINUS SIGN}")


def percent(share: float, sign: bool = True) -> str:
    """A share in percent; a minus sign is one, and not a hyphen, and 0 has none."""
    if not np.isfinite(share):
        return MISSING
    rounded = round(100 * share, 1) + 0.0
    return f"{rounded:{'+' if sign and rounded else ''}.1f} %".replace("-", "\N{MINUS SIGN}")
