"""Calibrated deciles hold the share of truths they name, and stay where nothing says otherwise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import norm

from rnn_model.calibration import ENOUGH, LEAST, RANGE, Calibration, Known, adjust, calibrate, coverage_80
from rnn_model.checkpoint import ModelCard, load_model, save_model
from rnn_model.config import MEDIAN, QUANTILES, ModelConfig
from rnn_model.network import build_network
from rnn_model.windows import Floats

NORMAL = norm.ppf(QUANTILES)
PROPERTY = settings(max_examples=30, deadline=None, derandomize=True, database=None)
ANY_SIGN = np.array([True])


def known(spreads: list[float], series: int = 3000, steps: int = 1, seed: int = 0) -> Known:
    """Normal truths, one window per series and time with the spread of that time; deciles of spread 1 around 100 k."""
    rng, times = np.random.default_rng(seed), len(spreads)
    centre = 100.0 * np.arange(times * series)[:, None]
    spread = np.repeat(spreads, series)[:, None]
    return Known(
        deciles=np.repeat(centre[:, None] + NORMAL, steps, 1),
        truth=centre + spread * rng.normal(size=(times * series, steps)),
        series=np.tile(np.arange(series), times),
        time=np.repeat(np.arange(times), series),
    )


def shares(deciles: Floats, truth: Floats) -> list[float]:
    return (truth[..., None] <= deciles).mean((0, 1)).tolist()


def made(*rows: list[float], until: tuple[int, ...] = (1,)) -> Calibration:
    return Calibration(factors=tuple(map(tuple, rows)), until=until, note="")


def factors(below: float, above: float) -> list[float]:
    return [below] * MEDIAN + [1.0] + [above] * MEDIAN


# ---- what it gives


@pytest.mark.parametrize("spread", [0.6, 1.0, 1.7])
def test_of_fresh_truths_each_decile_holds_the_share_it_names(spread: float) -> None:
    calibration = calibrate(known([spread] * 3))
    fresh = known([spread], seed=1)
    deciles = adjust(fresh.deciles, calibration, fresh.series < 0)
    assert shares(deciles, fresh.truth) == pytest.approx(QUANTILES, abs=0.03)
    assert calibration.coverage_80 == pytest.approx(
        norm.cdf(NORMAL[-1] / spread) - norm.cdf(NORMAL[0] / spread), abs=0.02
    )


def test_where_inner_deciles_alone_move_the_note_says_so() -> None:
    judged = known([1.0] * 3)
    step = judged.truth - judged.deciles[..., MEDIAN]
    pulled = np.where(np.abs(step) < 0.5, 0.5 * step, step)  # the middle lies nearer to the median
    calibration = calibrate(judged._replace(truth=judged.deciles[..., MEDIAN] + pulled))
    assert {calibration.factors[0][k] for k in (0, -1)} == {1.0}
    assert calibration.note.endswith("3 times agreeing: only deciles between 0.1 and 0.9")


def test_a_side_that_is_right_stays_while_the_other_is_widened() -> None:
    judged = known([1.0] * 3)
    above = judged.truth > judged.deciles[..., MEDIAN]
    wide = np.where(
        above, judged.deciles[..., MEDIAN] + 1.6 * (judged.truth - judged.deciles[..., MEDIAN]), judged.truth
    )
    row = np.array(calibrate(judged._replace(truth=wide)).factors).mean(0)
    assert row[:MEDIAN] == pytest.approx([1.0] * MEDIAN, abs=0.2)
    assert row[[0, -1]] == pytest.approx([1.0, 1.6], abs=0.07)


@pytest.mark.parametrize(("times", "steps"), [(1, 1), (1, 4), (3, 1)])
def test_the_factor_is_the_quantile_of_the_ratios_less_half_an_error_of_its_series(times: int, steps: int) -> None:
    ratios = np.linspace(0.51, 1.96, LEAST)  # all above, in steps of 0.05 of the last decile
    judged = Known(
        deciles=np.tile(np.linspace(-4.0, 4.0, 9), (times * LEAST, steps, 1)),
        truth=4.0 * np.tile(ratios[:, None], (times, steps)),
        series=np.tile(np.arange(LEAST), times),
        time=np.repeat(np.arange(times), LEAST),
    )
    calibration = calibrate(judged)
    row, error = calibration.factors[0], (0.9 * 0.1 / LEAST) ** 0.5  # of 30 series, however often they are seen
    assert row[-1] == pytest.approx(np.quantile(np.repeat(ratios, times * steps), 0.9 - error / 2))
    assert row[0] == RANGE[0]  # no truth below: as near as allowed
    rests = f"adjusted on {times * LEAST} windows of 30 series, all times together"
    assert calibration.note == f"{rests}: 0.1 x0.50, 0.9 x{row[-1]:.2f}"


@pytest.mark.parametrize("ratio", [0.97, 1.0, 1.03])
def test_what_lies_within_half_a_standard_error_does_not_move(ratio: float) -> None:
    deciles = np.tile(NORMAL, (LEAST, 1, 1))
    truth = ratio * norm.ppf((np.arange(LEAST) + 0.5) / LEAST)[:, None]  # a normal sample as even as can be
    calibration = calibrate(Known(deciles, truth, np.arange(LEAST), np.zeros(LEAST, np.int64)))
    assert calibration.factors == ()
    assert calibration.note == "not adjusted: 30 windows of 30 series, all times together, ask for no change"


def test_a_decile_that_rests_on_few_series_stays() -> None:
    judged = known([1.7] * 3, series=LEAST, steps=2)
    gone = judged.truth.copy()
    gone[1:] = np.nan
    assert calibrate(judged).factors
    assert calibrate(judged._replace(truth=gone)).factors == ()


@pytest.mark.filterwarnings("error")
def test_distances_next_to_nothing_say_nothing() -> None:
    judged = known([1.7] * 3, series=LEAST)
    tiny = judged.deciles[..., MEDIAN : MEDIAN + 1] * 0 + 1e-310 * NORMAL
    assert calibrate(judged._replace(deciles=tiny, truth=judged.truth + 1)).factors == ()


def test_missing_truths_do_not_count() -> None:
    judged = known([1.4] * 3, steps=2)
    gone = judged.truth.copy()
    gone[:, 1] = np.nan
    first = Known(judged.deciles[:, :1], judged.truth[:, :1], judged.series, judged.time)
    some, alone = calibrate(judged._replace(truth=gone)), calibrate(first)
    assert some.factors[0] == alone.factors[0]
    assert some.factors[1] == (1.0,) * 9  # nothing was seen of that step
    assert coverage_80(judged.deciles, np.full_like(gone, np.nan)) is None


@pytest.mark.parametrize(("series", "groups"), [(2 * ENOUGH - 1, 1), (2 * ENOUGH, 2)])
def test_each_group_of_steps_needs_enough_series(series: int, groups: int) -> None:
    assert len(calibrate(known([1.7] * 3, series=series, steps=4)).until) == groups


def test_with_many_series_each_step_has_factors_of_its_own() -> None:
    judged = known([1.0] * 3, series=4 * ENOUGH, steps=2)
    centre = judged.deciles[..., MEDIAN]
    calibration = calibrate(judged._replace(truth=centre + (judged.truth - centre) * [0.7, 1.6]))
    assert calibration.until == (1, 2)
    assert [row[-1] for row in calibration.factors] == pytest.approx([0.7, 1.6], abs=0.25)


# ---- when it holds back


@pytest.mark.parametrize(("series", "adjusted"), [(LEAST - 1, False), (LEAST, True)])
def test_few_series_are_left_alone_however_many_their_windows(series: int, adjusted: bool) -> None:
    calibration = calibrate(known([1.7] * 9, series=series))
    assert bool(calibration.factors) is adjusted
    if not adjusted:
        assert calibration.note == f"not adjusted: {9 * series} windows of {series} series, {LEAST} series are needed"


def test_where_times_disagree_nothing_moves() -> None:
    calibration = calibrate(known([1.5, 0.6, 1.5], series=400))
    assert calibration.factors == ()
    assert "at 3 times agree on no decile" in calibration.note


def test_where_times_agree_the_smallest_change_is_made() -> None:
    row = calibrate(known([1.2, 1.9, 1.6])).factors[0]
    assert row[-1] == pytest.approx(1.2, abs=0.06)


@pytest.mark.parametrize("place", [-1, 2])  # later than the others, and earlier
@pytest.mark.parametrize(("series", "parts"), [(ENOUGH - 1, 2), (ENOUGH, 3)])
def test_a_time_of_few_series_is_judged_with_its_neighbour(series: int, parts: int, place: int) -> None:
    both, few = known([1.5, 1.5], series=4 * ENOUGH), known([0.1], series=series)
    joined = Known(*(np.concatenate(pair) for pair in zip(both, few._replace(time=few.time + place), strict=True)))
    calibration = calibrate(joined)
    assert calibration.parts == parts
    assert bool(calibration.factors) is (parts == 2)  # alone it objects
    assert all(row[-1] > 1.1 for row in calibration.factors)


def test_without_windows_there_is_a_reason() -> None:
    none = Known(np.zeros((0, 2, 9)), np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert calibrate(none).note == f"not adjusted: 0 windows of 0 series, {LEAST} series are needed"
    assert calibrate(none).coverage_80 is None


def test_deciles_that_coincide_with_the_median_are_left_out() -> None:
    judged = known([1.0] * 3, series=LEAST)
    flat = np.repeat(judged.deciles[..., MEDIAN : MEDIAN + 1], 9, -1)
    assert calibrate(judged._replace(deciles=flat)).factors == ()


# ---- how deciles are adjusted


@PROPERTY
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=9, max_size=9),
    st.lists(st.floats(*RANGE), min_size=8, max_size=8),
    st.booleans(),
)
def test_adjusted_deciles_are_in_order_around_the_same_median(
    values: list[float], free: list[float], negative: bool
) -> None:
    deciles = np.sort(np.array(values)) if negative else np.sort(np.abs(values))
    row = [*free[:MEDIAN], 1.0, *free[MEDIAN:]]
    out = adjust(deciles[None, None], made(row), np.array([negative]))[0, 0]
    assert (np.diff(out) >= 0).all()
    assert out[MEDIAN] == deciles[MEDIAN]
    assert negative or out.min() >= 0


def test_an_interval_is_widened_around_its_median_by_hand() -> None:
    deciles = np.arange(1.0, 10.0)[None, None] * 10  # 10 to 90
    out = adjust(deciles, made(factors(0.5, 2.0)), ANY_SIGN)[0, 0]
    assert out.tolist() == [30, 35, 40, 45, 50, 70, 90, 110, 130]


def test_no_decile_falls_under_zero_where_no_value_was_negative() -> None:
    deciles = np.arange(1.0, 10.0)[None, None]
    wide = made(factors(2.0, 1.0))
    assert adjust(deciles, wide, ~ANY_SIGN).min() == 0
    assert adjust(deciles, wide, ANY_SIGN).min() == -3  # 5 - 2 * 4


def test_past_the_calibrated_steps_the_last_factors_hold() -> None:
    deciles = np.tile(np.arange(1.0, 10.0), (1, 5, 1))
    calibration = made(factors(1.0, 1.5), factors(1.0, 2.0), until=(2, 3))
    assert adjust(deciles, calibration, ANY_SIGN)[0, :, -1].tolist() == [11, 11, 13, 13, 13]
    assert adjust(deciles[:, :1], calibration, ANY_SIGN)[0, :, -1].tolist() == [11]


@pytest.mark.parametrize("calibration", [None, Calibration(note="not adjusted")])
def test_without_factors_the_deciles_are_the_same_bits(calibration: Calibration | None) -> None:
    deciles = np.arange(1.0, 10.0)[None, None]
    assert adjust(deciles, calibration, ANY_SIGN) is deciles


# ---- on the card


def test_a_calibration_comes_back_from_a_model_folder_to_the_bit(tmp_path: Path) -> None:
    calibration = calibrate(known([1.3, 1.4, 1.5], series=300, steps=4))
    network = build_network(ModelConfig(width=8, patch=4, context=16), 4, seed=0)
    card = ModelCard(
        model=network.config, freq="D", periods=(7, 7), horizon=4, strategy="full", calibration=calibration
    )
    assert load_model(save_model(network, card, tmp_path / "model"))[1].calibration == calibration


@pytest.mark.parametrize(
    ("row", "reason"),
    [([1.0] * 8, "factors are 9 for each"), (factors(0.0, 1.0), "positive"), ([*[1.0] * 4, 2.0, *[1.0] * 4], "median")],
)
def test_factors_that_make_no_deciles_are_refused(row: list[float], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        made(row)
