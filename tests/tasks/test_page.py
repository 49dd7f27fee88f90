"""The page says all that was found, in order, and is one file: nothing is fetched, nothing in it is executed."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rnn_model.config import DECILES, QUANTILES
from tasks.config import WindowConfig
from tasks.handles import (
    Account,
    Check,
    Contender,
    Dataset,
    Decision,
    Effect,
    Evaluation,
    Model,
    Run,
    Selection,
    Validated,
)
from tasks.metrics import overall, per_series
from tasks.page import Findings, Material, percent, render, three_digits
from tasks.significance import WORST

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
NASTY = '<script>alert("$x$")</script>'
HEADINGS = [
    "The decision",
    "Which model was chosen, and why",
    "Leaderboard",
    "Forecasts: the best, the median and the worst series",
    "Error by horizon step",
    "Error by segment",
    "Calibration",
    "Learning curves",
    "Where the rows went",
    "Settings",
    "How to repeat this run",
]
SECTIONS = {"window": WindowConfig(horizon=6), "seed": 3}


class Reader(HTMLParser):
    """Headings, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(text)
        self.words = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.headings += [""] if tag == "h2" else []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        if self.tags and self.tags[-1][0] == "h2" and not self.headings[-1]:
            self.headings[-1] = data


@pytest.fixture(scope="module")
def material() -> Material:
    """Three series of 40 months, forecast twice by two models; one of them is called like a script."""
    months = pl.datetime_range(datetime(2020, 1, 1), datetime(2023, 4, 1), "1mo", eager=True, time_unit="us")
    rng = np.random.default_rng(0)
    history = pl.concat(
        pl.DataFrame({"unique_id": name, "ds": months, "y": 50 + rng.normal(0, 5, 40).cumsum()})
        for name in ("a", "b", NASTY)
    )
    parts = []
    for model, error in (("full", 1.0), ("zero-shot", 1.5), ("SeasonalNaive", 4.0)):
        for origin in (34, 37):
            cutoff = months[origin - 1]
            ahead = history.filter(pl.col("ds") > cutoff).group_by("unique_id", maintain_order=True).head(3)
            deciles = [(pl.col("y") + error * (1 + q)).alias(name) for q, name in zip(QUANTILES, DECILES, strict=True)]
            step = pl.int_range(1, pl.len() + 1).over("unique_id")
            parts.append(ahead.with_columns(*deciles, cutoff=pl.lit(cutoff), step=step, model=pl.lit(model)))
    forecasts = pl.concat(parts)
    scores = pl.concat(
        per_series(own, history, 12).with_columns(model=pl.lit(str(name)))
        for (name,), own in forecasts.group_by("model", maintain_order=True)
    )
    aside = {"unique_id": [NASTY], "rule": ["shorter than 11"], "at": [datetime(2023, 1, 1)], "rows": [2]}
    return Material(history, forecasts, scores, pl.DataFrame(aside | {"observed": [2]}))


def findings(material: Material, **more: Any) -> Findings:
    scored = {str(name): overall(own) for (name,), own in material.scores.group_by("model")}
    account = Account(
        rows_in=137, used=80, padded=40, quarantined={"shorter than 11": 17}, added=5, series_in=4, series_used=3,
        constant=0,
    )  # fmt: skip
    dataset = Dataset(
        folder=Path("x"), fingerprint="d" * 64, name="sales", freq="MS", season=12, periods=(12, 12), gaps="missing",
        rows=120, series=3,
    )  # fmt: skip
    known: dict[str, Any] = {
        "run": Run(uri="http://tracker:5000", experiment_id="1", run_id="r" * 32, name="sales h3"),
        "command": "run",
        "sections": SECTIONS,
        "validated": Validated(dataset=dataset, account=account),
        "evaluation": Evaluation(
            folder=Path("x"), horizon=3, fingerprint="e" * 64, table=scored, runs={}, windows=6, skipped=0
        ),
        "base": model("pretrain"),
        "model": model("full"),
    }
    return Findings(**known | more)


def model(strategy: str) -> Model:
    return Model(folder=Path("x"), weights="a" * 64, strategy=strategy, context=16)


def selection() -> Selection:
    tuned = Contender(model=model("full"), validation_loss=0.25, history=((10, 0.9, 0.5), (20, 0.8, 0.25)))
    kept = Contender(model=model("zero-shot"), validation_loss=0.75)
    return Selection(contenders=(kept, tuned), chosen="full", reason="full: gains 66 % on zero-shot")


def decision() -> Decision:
    whole = Effect(part="all", series=3, windows=6, champion=1.0, challenger=0.9, gain=0.1, low=0.02, high=0.19, p=0.01)
    part = whole.model_copy(update={"part": f"shop={NASTY}", "gain": -0.05, "low": WORST, "high": 1.0, "p": 0.002})
    step = whole.model_copy(update={"part": "step=1", "low": 0.03, "high": 0.18, "p": None})
    return Decision(
        outcome="not enough evidence",
        sentence="Three series are too few to tell.",
        metric="SQL",
        champion="champion v3",
        challenger="full",
        fingerprint="e" * 64,
        effects=(whole, part, step),
        checks=(Check(name="coverage", value=0.5, allowed="0.65 to 0.95", passed=False),),
    )


@pytest.fixture(scope="module")
def full(material: Material) -> str:
    return render(findings(material, selection=selection(), decision=decision()), material, NOW)


@pytest.fixture(scope="module")
def bare(material: Material) -> str:
    return render(findings(material), material, NOW)


def test_every_section_stands_in_order_with_a_gate_and_a_choice(full: str) -> None:
    assert Reader(full).headings == HEADINGS


def test_every_section_stands_in_order_without_them_and_says_what_is_missing(bare: str) -> None:
    page = Reader(bare)
    assert page.headings == HEADINGS
    for words in ("The gate did not run", "there was nothing to choose from", "Nothing was trained"):
        assert words in page.words


def test_the_decision_is_told_with_its_table_and_checks(full: str) -> None:
    words = Reader(full).words
    for said in ("Not enough evidence", "Three series are too few to tell.", "champion v3", "+10.0 %"):
        assert said in words
    assert "+2.0 % to +19.0 %" in words
    assert "+2.0 % to +19.0 % 0.010" in words
    assert "\N{MINUS SIGN}5.0 % interval unknown \N{EN DASH}" in words  # of the segment; a p would contradict that
    assert "+3.0 % to +18.0 % \N{EN DASH}" in words  # a step has no p
    assert "coverage 0.50 0.65 to 0.95 no" in words


def test_calibration_is_told_before_and_after(material: Material) -> None:
    known, chosen = findings(material), selection()
    figures = {"coverage_80_before": 0.625, "coverage_80_after": 0.775, "WQL_before": 0.125, "WQL_after": 0.115}
    row = {f"calibration/{name}": value for name, value in figures.items()}
    evaluation = known.evaluation.model_copy(update={"calibration": {"full": row}})
    contenders = tuple(c.model_copy(update={"calibration": "adjusted on 90 windows"}) for c in chosen.contenders)
    told = findings(material, evaluation=evaluation, selection=chosen.model_copy(update={"contenders": contenders}))
    assert "full 0.625 0.775 0.125 0.115 adjusted on 90 windows" in Reader(render(told, material, NOW)).words


def test_the_version_of_the_champion_is_named(material: Material) -> None:
    known = decision().model_copy(update={"champion": "champion", "address": "models:/sales/3"})
    assert (
        "full against champion (models:/sales/3) on the same windows"
        in Reader(render(findings(material, decision=known), material, NOW)).words
    )


def test_the_choice_is_told_with_its_reason_once(full: str) -> None:
    assert "full was chosen on the validation windows" in Reader(full).words
    assert "The reason: gains 66 % on zero-shot." in Reader(full).words


def test_names_of_series_are_words_and_never_markup(full: str) -> None:
    page = Reader(full)
    assert "script" not in {tag for tag, _ in page.tags}
    assert NASTY in page.words  # in a caption, a segment and the quarantine
    assert "alert(" in full
    assert '<script>alert("' not in full


def test_nothing_is_fetched(full: str) -> None:
    loading = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
    links = [value for _, attributes in Reader(full).tags for name in loading if (value := attributes.get(name))]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"@import|url\((?!#)", full)
    assert {tag for tag, _ in Reader(full).tags}.isdisjoint({"link", "script", "iframe", "img", "object", "embed"})


def test_every_figure_has_words_for_who_cannot_see_it(full: str) -> None:
    figures = [attributes for tag, attributes in Reader(full).tags if tag == "svg"]
    assert len(figures) == 3 + len(("board", "steps", "segments", "calibration", "curves"))
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)


def test_references_inside_figures_lead_to_something(full: str) -> None:
    assert set(re.findall(r"url\(#([^)]+)\)", full)) <= set(re.findall(r'id="([^"]+)"', full))


def test_the_rows_add_up_on_the_page(full: str) -> None:
    words = Reader(full).words
    assert "137 rows in = 80 used + 40 used with padding + 17 shorter than 11" in words
    assert "sum, which is the rows in 137" in words
    assert "2023-01-01 00:00" in words


def test_an_account_that_does_not_add_up_says_so(material: Material) -> None:
    one = findings(material)
    wrong = one.validated.account.model_copy(update={"used": 81})
    broken = one.model_copy(update={"validated": one.validated.model_copy(update={"account": wrong})})
    assert "NOT the rows in" in render(broken, material, NOW)


def test_the_leaderboard_has_every_model_the_best_first(full: str) -> None:
    board = full[full.index('id="leaderboard"') : full.index('id="fans"')]
    assert re.findall(r"<td>([\w-]+)", board) == ["full", "zero-shot", "SeasonalNaive"]
    assert "full (chosen)" in board


def test_a_choice_that_the_test_ranks_second_is_explained(material: Material) -> None:
    other = selection().model_copy(update={"chosen": "zero-shot"})
    page = Reader(render(findings(material, selection=other, model=model("zero-shot")), material, NOW))
    assert "In the test below, full has the lowest MASE. That is no reason to choose it" in page.words


def test_a_tie_is_no_victory_over_the_choice(material: Material) -> None:
    """Fine-tuning that changed nothing leaves candidates with equal forecasts."""
    one = pl.col("model") == "full"
    twice = [
        pl.concat([frame, frame.filter(one).with_columns(model=pl.lit("average"))])
        for frame in (material.forecasts, material.scores)
    ]
    tied = Material(material.history, *twice, material.quarantine)
    other = selection().model_copy(update={"chosen": "full"})
    text = render(findings(material, selection=other), tied, NOW)
    board = text[text.index('id="leaderboard"') : text.index('id="fans"')]
    assert re.findall(r"<td>([\w-]+)", board)[:2] == ["full", "average"]
    assert "has the lowest MASE" not in text


def test_the_page_is_small_and_equal_findings_give_an_equal_one(material: Material, full: str) -> None:
    assert len(full.encode()) < 500_000
    assert full == render(findings(material, selection=selection(), decision=decision()), material, NOW)


def test_without_any_scale_the_page_says_so(material: Material) -> None:
    unknown = material.scores.with_columns(MASE=pl.lit(None, dtype=pl.Float64))
    blank = Material(material.history, material.forecasts, unknown, material.quarantine)
    assert "No series has a scale" in Reader(render(findings(material), blank, NOW)).words


def test_more_series_aside_than_are_shown_are_counted(material: Material) -> None:
    many = pl.concat([material.quarantine] * 30)
    whole = Material(material.history, material.forecasts, material.scores, many)
    assert "The first 20 of 30 series set aside" in Reader(render(findings(material), whole, NOW)).words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.2496, "1.25"),
        (0.5, "0.50"),
        (0.01904, "0.0190"),
        (12.34, "12.3"),
        (1234.6, "1,235"),
        (float("nan"), "\u2013"),
    ],
)
def test_figures_keep_three_digits(value: float, words: str) -> None:
    assert three_digits(value) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.021, "+2.1 %"), (-0.5, "\u221250.0 %"), (-1e-9, "0.0 %"), (float("nan"), "\u2013")]
)
def test_shares_are_in_percent_with_a_sign(share: float, words: str) -> None:
    assert percent(share) == words
