"""The gate's decisions on losses that are known by construction, through the frames that the backtest writes."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from known_losses import HORIZON, Array, losses, noisy, rising, scored
from scipy import stats

from rnn_model.errors import ConfigError
from tasks import gate
from tasks.config import GateConfig
from tasks.evaluate import publish_backtest
from tasks.gate import scored_model
from tasks.handles import Decision, Evaluation, Run, Standing
from tasks.judgement import judge
from tasks.metrics import per_series
from tasks.pairing import Scored, read_groups
from tasks.segments import KINDS, segments

CONFIG = GateConfig(coverage=(0, 1))


def grouped(model: Scored, labels: pl.DataFrame | None = None) -> pl.DataFrame:
    """The segments of the series of a model whose losses are known."""
    series, cutoffs = model.scores["unique_id"].n_unique(), model.scores["cutoff"].n_unique()
    return segments(rising(series, cutoffs), model.scores, KINDS, labels)


def decision(champion: Array, challenger: Array, config: GateConfig = CONFIG, **labels: pl.DataFrame) -> Decision:
    old, new = scored("champion v3", champion), scored("full", challenger)
    return judge(old, new, grouped(old, **labels), config)


def broken(model: Scored, column: str, value: float | None, **where: object) -> Scored:
    """The same model with another value in its scores, where `unique_id` is that."""
    there = pl.all_horizontal(pl.col(name) == wanted for name, wanted in where.items())
    scores = model.scores.with_columns(pl.when(there).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))
    return Scored(model.name, model.fingerprint, scores, model.forecasts)


# ---- three outcomes


def test_a_clear_gain_is_promoted_in_a_sentence_with_its_figures() -> None:
    champion = losses(30, 3)
    done = decision(champion, champion * 0.8)
    assert done.promotes
    assert done.sentence == (
        "full takes over from champion v3: the SQL of full is 20% lower than that of champion v3 over 30 series and "
        "3 cutoffs (90% interval of the gain 20% to 20%, p under 0.001), and every floor holds."
    )


def test_the_gain_is_that_of_the_means_over_cutoffs() -> None:
    champion, challenger = np.array([[4.0, 2.0]] * 9), np.array([[1.0, 3.0]] * 9)
    challenger[0] = [5, 9]
    whole = decision(champion, challenger).effects[0]
    assert (whole.part, whole.series, whole.windows) == ("all", 9, 18)
    assert whole.champion == pytest.approx(3)
    assert whole.challenger == pytest.approx((8 * 2 + 7) / 9)
    assert whole.gain == pytest.approx(1 - 23 / 27)


def test_equal_models_keep_the_champion() -> None:
    champion = losses(12, 3)
    done = decision(champion, champion)
    assert (done.outcome, done.effects[0].gain) == ("keep", 0)
    assert done.sentence == "champion v3 stays: full has the same SQL in each of 36 windows."


def test_a_better_champion_is_kept() -> None:
    champion = losses(30, 3)
    done = decision(champion, noisy(champion, 1.3))
    assert done.outcome == "keep"
    assert "champion v3 is better" in done.sentence


def test_where_nothing_that_matters_can_be_gained_the_champion_is_kept() -> None:
    champion = losses(60, 12)
    done = decision(champion, noisy(champion, 0.999), GateConfig(coverage=(0, 1), min_effect=0.05))
    assert done.outcome == "keep"
    assert "no gain of 5% that would matter" in done.sentence


def test_a_gain_smaller_than_the_least_effect_is_not_promoted() -> None:
    champion = losses(30, 3)
    done = decision(champion, champion * 0.996, GateConfig(coverage=(0, 1), min_effect=0.005))
    assert done.effects[0].low > 0
    assert done.effects[0].p is not None
    assert done.effects[0].p < 0.05
    assert done.outcome == "keep"
    assert decision(champion, champion * 0.996, GateConfig(coverage=(0, 1), min_effect=0.003)).promotes


def test_a_gain_that_chance_could_make_is_not_enough() -> None:
    done = decision(losses(12, 3), losses(12, 3, seed=4) * 0.95)
    assert done.outcome == "not enough evidence"
    assert "chance alone could do that" in done.sentence


def test_a_gain_at_one_cutoff_of_three_is_not_enough_however_many_series() -> None:
    champion = losses(100, 3)
    done = decision(champion, champion * np.array([0.4, 1.02, 1.01]))
    assert done.effects[0].gain > 0.15
    assert done.outcome == "not enough evidence"


def test_one_cutoff_is_never_enough() -> None:
    champion = losses(100, 1)
    done = decision(champion, champion * 0.5)
    assert done.outcome == "not enough evidence"
    assert "1 cutoff of 100 series cannot tell it from chance, 2 are needed" in done.sentence


def test_equal_evidence_gives_an_equal_decision() -> None:
    champion = losses(30, 3)
    assert decision(champion, noisy(champion, 0.9)) == decision(champion, noisy(champion, 0.9))


@pytest.mark.parametrize("metric", ["SQL", "MASE"])
def test_a_point_forecast_has_the_same_loss_in_both_metrics(metric: str) -> None:
    champion = losses(9, 2)
    config = GateConfig(coverage=(0, 1), metric=metric)  # type: ignore[arg-type]
    done = decision(champion, noisy(champion, 0.9), config)
    assert done.effects[0].champion == pytest.approx(champion.mean())
    assert done.metric == metric


# ---- one series


def test_one_series_is_judged_over_its_cutoffs() -> None:
    champion = losses(1, 12)
    challenger = noisy(champion, 0.85)
    done = decision(champion, challenger)
    expected = stats.ttest_1samp((champion - challenger)[0], 0, alternative="greater").pvalue
    assert done.effects[0].p == pytest.approx(expected)
    assert done.promotes


def test_one_series_with_few_cutoffs_is_not_enough() -> None:
    champion = losses(1, 7)
    done = decision(champion, champion * 0.5)
    assert done.outcome == "not enough evidence"
    assert "8 are needed" in done.sentence


# ---- losses that are not known


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
@pytest.mark.parametrize("whose", ["champion v3", "full"])
def test_an_unknown_loss_never_promotes(value: float | None, whose: str) -> None:
    champion = losses(30, 3)
    models = [scored("champion v3", champion), scored("full", champion * 0.5)]
    old, new = (broken(m, "SQL", value, unique_id="s007") if m.name == whose else m for m in models)
    done = judge(old, new, grouped(old), CONFIG)
    assert done.outcome == "not enough evidence"
    assert f"{whose} has no finite loss in 3 windows of 's007'" in done.sentence
    assert not done.checks[0].passed


def test_losses_that_neither_model_has_are_not_taken_for_a_flat_history() -> None:
    champion = losses(30, 3)
    models = [scored("champion v3", champion), scored("full", champion * 0.5)]
    old, new = (broken(broken(m, "SQL", None, unique_id="s007"), "QL", float("nan"), unique_id="s007") for m in models)
    assert judge(old, new, grouped(old), CONFIG).outcome == "not enough evidence"


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_gap_in_a_forecast_never_promotes(value: float | None) -> None:
    champion = losses(30, 3)
    model = scored("full", champion * 0.5)
    hole = (pl.col("unique_id") == "s003") & (pl.col("step") == 2)
    holed = model.forecasts.with_columns(pl.when(hole).then(pl.lit(value)).otherwise(pl.col("0.3")).alias("0.3"))
    history = rising(30, 3)
    new = Scored("full", model.fingerprint, per_series(holed, history, 1), holed)
    done = judge(scored("champion v3", champion), new, segments(history, new.scores, KINDS), CONFIG)
    assert done.outcome == "not enough evidence"
    assert "'s003'" in done.sentence


def test_windows_without_a_scale_are_left_out_and_counted() -> None:
    champion = losses(30, 3)
    models = [scored("champion v3", champion), scored("full", champion * 0.8)]
    old, new = (broken(m, "SQL", None, unique_id="s007") for m in models)
    done = judge(old, new, grouped(old), CONFIG)
    assert done.promotes
    assert done.effects[0].series == 29
    assert "3 windows left out" in done.checks[0].allowed


# ---- floors


def test_a_segment_that_loses_stops_a_promotion() -> None:
    champion = losses(40, 3)
    factor = np.where(np.arange(40) < 6, 1.3, 0.7)[:, None]
    labels = pl.DataFrame({"unique_id": [f"s{i:03}" for i in range(40)], "label": ["poor"] * 6 + ["rich"] * 34})
    assert decision(champion, champion * factor).promotes
    done = decision(champion, champion * factor, labels=labels)
    assert done.outcome == "keep"
    assert "gain in segment=poor is -0.3, and a gain of -0.1 or more is asked" in done.sentence


def test_a_segment_of_too_few_series_stops_nothing() -> None:
    champion = losses(40, 3)
    factor = np.where(np.arange(40) < 4, 1.3, 0.7)[:, None]
    labels = pl.DataFrame({"unique_id": [f"s{i:03}" for i in range(40)], "label": ["poor"] * 4 + ["rich"] * 36})
    assert decision(champion, champion * factor, labels=labels).promotes


@pytest.mark.parametrize(("bounds", "outcome"), [((0.65, 0.95), "keep"), ((0.65, 1.0), "promote")])
def test_coverage_outside_its_bounds_stops_a_promotion(bounds: tuple[float, float], outcome: str) -> None:
    champion = losses(30, 3)
    old, new = scored("champion v3", champion, spread=9), scored("full", champion * 0.5, spread=9)
    done = judge(old, new, grouped(old), GateConfig(coverage=bounds))
    assert done.outcome == outcome
    assert ("coverage of the 80% interval is 1, and 0.65 to 0.95 is asked" in done.sentence) == (outcome == "keep")


# ---- from an evaluation on disk


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    """What the backtest writes: a naive forecast, and a model that is better by a third."""
    naive = losses(30, 3)
    models = [scored("SeasonalNaive", naive), scored("full", naive * 0.66)]
    frames, scores = ({m.name: getattr(m, kind) for m in models} for kind in ("forecasts", "scores"))
    folder = publish_backtest(frames, scores, grouped(models[0]), "run")
    table: dict[str, dict[str, float]] = {m.name: {} for m in models}
    return Evaluation(folder=folder, horizon=HORIZON, fingerprint="f" * 64, table=table, runs={}, windows=90, skipped=0)


def test_an_evaluation_on_disk_gives_the_decision_of_its_frames(evaluation: Evaluation) -> None:
    old, new = (scored_model(evaluation, name) for name in ("SeasonalNaive", "full"))
    naive = losses(30, 3)
    expected = judge(scored("SeasonalNaive", naive), scored("full", naive * 0.66), grouped(old), CONFIG)
    assert judge(old, new, grouped(old), CONFIG) == expected
    assert expected.promotes


def test_a_model_that_was_not_evaluated_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(ConfigError, match="champion v3 is not in the evaluation, which has SeasonalNaive, full"):
        scored_model(evaluation, "champion v3")


def test_a_decision_survives_being_stored(evaluation: Evaluation) -> None:
    old, new = (scored_model(evaluation, name) for name in ("SeasonalNaive", "full"))
    done = judge(old, new, read_groups(evaluation.folder), CONFIG)
    assert Decision.model_validate_json(done.model_dump_json()) == done


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the task logs and shows, by the name of the call."""
    shown: dict[str, Any] = {}
    for name in ("log_table", "log_metrics", "set_tags"):
        monkeypatch.setattr(gate, name, lambda run, *told, name=name: shown.update({name: told}))
    monkeypatch.setattr(gate, "show_table", lambda **told: shown.update(told))
    return shown


def decided(evaluation: Evaluation, standing: Standing) -> Decision:
    run = Run(uri="sqlite:///x", experiment_id="1", run_id="r", name="night")
    return gate.decide(evaluation, "full", standing, CONFIG, run)


def test_the_task_logs_the_decision_and_shows_it(evaluation: Evaluation, told: dict[str, Any]) -> None:
    done = decided(evaluation, Standing())
    assert (done.outcome, done.champion) == ("promote", "SeasonalNaive")
    assert told["log_table"] == (done.model_dump(mode="json"), "decision.json")
    assert told["set_tags"][0]["carryover.gate"] == "promote"
    assert told["table"][0]["gain"] == "34%"
    assert told["description"] == done.sentence


@pytest.mark.usefixtures("told")
def test_the_seasonal_naive_only_stands_in_where_there_is_no_champion(evaluation: Evaluation) -> None:
    assert decided(evaluation, Standing()).sentence.startswith("full becomes the first champion: the SQL of full is")
    old, new = scored_model(evaluation, "SeasonalNaive"), scored_model(evaluation, "full")
    kept = judge(new, old, read_groups(evaluation.folder), CONFIG, vacant=True)
    assert kept.sentence.startswith("There is no champion yet, and stays none: full is better; the SQL of")


@pytest.mark.usefixtures("told")
def test_nothing_is_promoted_over_a_champion_that_cannot_be_compared(evaluation: Evaluation) -> None:
    done = decided(evaluation, Standing(address="models:/sales/3", refused="models:/sales/3 is of other series"))
    assert (done.outcome, done.address) == ("not enough evidence", "models:/sales/3")
    assert "is of other series" in done.sentence


@pytest.mark.usefixtures("told")
def test_without_a_champion_and_a_naive_forecast_there_is_no_evidence(evaluation: Evaluation) -> None:
    without = evaluation.model_copy(update={"table": {"full": {}}})
    assert decided(without, Standing()).outcome == "not enough evidence"
