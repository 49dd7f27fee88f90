"""The synthetic corpus: repeatable, bounded, and of the kinds it names."""

import math

import numpy as np
import pytest

from rnn_model import corpus
from rnn_model.config import SyntheticConfig
from rnn_model.corpus import ODD, add_artefacts, draw_lengths, generate, make_chunk, mix, own_periods, state_periods
from rnn_model.seeding import numpy_rng
from rnn_model.synthetic import DRIFTING, FAMILIES, autoregressive_noise, long_season, seasonal_pattern, seasons, trend
from rnn_model.windows import Windows

PERIODS = (1, 4, 7, 12, 24)
SMALL = SyntheticConfig(series=400, length=64)


@pytest.fixture(scope="module")
def made() -> Windows:
    return generate(SMALL, PERIODS, seed=1)


def same(first: Windows, second: Windows) -> bool:
    return all(
        getattr(first, name).tobytes() == getattr(second, name).tobytes()
        for name in ("values", "offsets", "periods", "end")
    )


def family(name: str, period: int, n: int = 400, size: int = 120) -> np.ndarray:
    periods, lengths = np.full(n, period), np.full(n, size)
    return FAMILIES[name][0](numpy_rng(3, name, period), periods, lengths, size)


def lag_correlation(series: np.ndarray, lag: int) -> float:
    """Mean autocorrelation of the differenced series at a lag: trends and walks have none."""
    steps = np.diff(series, axis=1)
    steps = steps - steps.mean(1, keepdims=True)
    power = (steps**2).mean(1)
    moving = power > 1e-12
    return float(((steps[:, lag:] * steps[:, :-lag]).mean(1)[moving] / power[moving]).mean())


# ---- the corpus


def test_equal_arguments_give_equal_bytes(made: Windows) -> None:
    assert same(generate(SMALL, PERIODS, seed=1), made)


def test_another_seed_gives_other_bytes(made: Windows) -> None:
    assert not same(generate(SMALL, PERIODS, seed=2), made)


def test_more_series_begin_with_the_same_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 16)
    few, many = (generate(SyntheticConfig(series=n, length=48), PERIODS, 5) for n in (16, 40))
    assert np.array_equal(few.values, many.values[: len(few.values)], equal_nan=True)


def test_no_part_of_the_corpus_repeats_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 16)
    made = generate(SyntheticConfig(series=32, length=48), PERIODS, 5)
    assert not np.array_equal(made.lengths[:16], made.lengths[16:])


def test_progress_counts_the_series_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 16)
    seen: list[int] = []
    generate(SyntheticConfig(series=40, length=48), PERIODS, 5, seen.append)
    assert seen == [16, 32, 40]


def test_the_corpus_has_the_asked_number_of_series_within_their_bounds(made: Windows) -> None:
    assert len(made) == 400
    assert made.lengths.min() >= 10
    assert made.lengths.max() <= 64
    assert made.offsets[-1] == len(made.values) == made.lengths.sum()
    assert made.values.dtype == np.float32


def test_no_value_is_infinite_and_few_are_missing(made: Windows) -> None:
    assert not np.isinf(made.values).any()
    assert 0 < np.isnan(made.values).mean() < 0.05
    assert all(np.isfinite(made.history(i)).any() for i in range(len(made)))


def test_short_series_are_as_common_as_long_ones() -> None:
    lengths = draw_lengths(numpy_rng(0, "lengths"), np.ones(4000, np.int64), 1000)
    below = [(lengths < np.sqrt(10 * 1000)).mean(), (lengths < 10 * 100**0.25).mean()]  # log-uniform from 10 to 1000
    assert below == pytest.approx([0.5, 0.25], abs=0.03)
    assert lengths.min() >= 10


def test_a_series_holds_two_of_its_seasons_where_the_longest_length_allows() -> None:
    lengths = draw_lengths(numpy_rng(0, "lengths"), np.repeat([24, 200], 2000), 320)
    assert lengths[:2000].min() >= 48
    assert lengths[2000:].min() >= 160  # half the longest


def test_every_other_series_with_a_long_season_holds_two_of_it() -> None:
    lengths = draw_lengths(numpy_rng(0, "lengths"), np.full(4000, 24, np.int64), 1152)
    log_uniform = (math.log(1152) - math.log(336)) / (math.log(1152) - math.log(48))
    assert (lengths >= 336).mean() == pytest.approx(0.5 + 0.5 * log_uniform, abs=0.03)


def test_stated_seasons_are_right_for_all_but_a_few() -> None:
    periods = np.repeat([4, 12, 24], 2000)
    stated = state_periods(numpy_rng(0, "stated"), periods, (4, 12, 24))
    assert set(np.unique(stated[:, 0])) == {1, 4, 12, 24}
    assert (stated[:, 0] != periods).mean() == pytest.approx(0.08 * 0.75, abs=0.01)  # one in four errs to the truth
    assert np.array_equal(stated[:, 1], np.where(stated[:, 0] == 24, 168, stated[:, 0]))


def test_some_long_series_have_a_season_that_no_calendar_knows() -> None:
    usual, lengths = np.full(4000, 12), np.repeat([ODD - 1, 400], 2000)
    own = own_periods(numpy_rng(0, "own"), usual, lengths)
    assert (own[:2000] == 12).all()
    others = own[2000:][own[2000:] != 12]
    assert len(others) / 2000 == pytest.approx(0.1, abs=0.02)
    assert 2 <= others.min() < 5
    assert 80 < others.max() <= 100  # at least four of them lie in a series
    assert (state_periods(numpy_rng(0, "stated"), np.full(50, 23), (1, 12))[:, 0] != 23).all()


def test_counts_are_not_mixed_and_a_fifth_of_the_others_is() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(size=(800, 50))
    kinds = np.repeat([list(FAMILIES).index("counts"), 0], 400)
    moved = (mix(rng, series, np.full(800, 4), np.full(800, 50), kinds) != series).any(1)
    assert not moved[:400].any()
    assert moved[400:].mean() == pytest.approx(0.2, abs=0.06)


def test_series_of_different_seasons_are_not_mixed() -> None:
    series = np.random.default_rng(0).normal(size=(100, 50))
    out = mix(np.random.default_rng(1), series, np.arange(100) + 1, np.full(100, 50), np.zeros(100, int))
    assert np.array_equal(out, series)


def test_artefacts_leave_most_points_alone_and_never_touch_the_input() -> None:
    series = np.random.default_rng(0).normal(size=(300, 60))
    kept = series.copy()
    out = add_artefacts(np.random.default_rng(1), series, np.full(300, 60))
    assert np.array_equal(series, kept)
    steps = np.isclose(np.diff(out, axis=1), np.diff(series, axis=1))  # an offset of the level is no artefact here
    assert steps.mean() > 0.85


# ---- the families


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("period", [1, 12, 168])
def test_every_family_is_finite_and_of_order_one(name: str, period: int) -> None:
    series = family(name, period)
    assert series.shape == (400, 120)
    assert np.isfinite(series).all()
    assert 0.1 < np.median(series.std(1)) < 10
    assert np.abs(series).max() < 1e5


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("period", [4, 12])
def test_every_family_shows_its_season(name: str, period: int) -> None:
    assert lag_correlation(family(name, period), period) > lag_correlation(family(name, 1), period) + 0.05


def test_counts_are_whole_numbers_from_zero() -> None:
    series = family("counts", 7)
    assert (series >= 0).all()
    assert np.array_equal(series, np.round(series))
    assert 0.05 < (series == 0).mean() < 0.95


def test_shares_of_the_families_sum_to_one() -> None:
    assert sum(share for _, share in FAMILIES.values()) == pytest.approx(1.0)


def test_a_trend_is_the_same_curve_at_any_length() -> None:
    short, long = (trend(numpy_rng(0, "trend"), np.full(500, n), 300) for n in (20, 300))
    same = np.isclose(short[:, :20], long[:, ::15], rtol=1e-9, atol=1e-9).all(1)
    assert same.mean() == pytest.approx(0.75, abs=0.05)  # to the others a wandering slope is added


def test_the_rise_over_a_series_does_not_depend_on_its_length() -> None:
    short, long = (trend(numpy_rng(n, "trend"), np.full(6000, n), 300) for n in (20, 300))
    rises = [series[:, n - 1] - series[:, 0] for series, n in ((short, 20), (long, 300))]
    quartiles = [np.quantile(rise, [0.1, 0.25, 0.75, 0.9]) for rise in rises]
    np.testing.assert_allclose(quartiles[0], quartiles[1], rtol=0.15)


@pytest.mark.parametrize("period", [4, 7, 24])
def test_a_seasonal_pattern_repeats_with_mean_0_and_spread_1(period: int) -> None:
    pattern = seasonal_pattern(numpy_rng(0, "pattern"), np.full(300, period), 4 * period)
    repeats = np.isclose(pattern[:, period:], pattern[:, :-period]).all(1)
    assert repeats.all() if period < 12 else repeats.mean() == pytest.approx(1 - DRIFTING, abs=0.04)
    pattern = pattern[repeats]
    np.testing.assert_allclose(pattern.mean(1), 0, atol=1e-9)
    spread = pattern.std(1)
    assert (np.isclose(spread, 1) | np.isclose(spread, 0)).all()  # a spiky cycle may have come without a spike
    assert np.isclose(spread, 1).mean() > 0.9


def test_a_season_of_1_is_no_season() -> None:
    assert not seasons(numpy_rng(0, "seasons"), np.ones(50, np.int64), 40).any()


def test_a_day_stands_inside_a_week_and_a_week_or_a_quarter_inside_a_year() -> None:
    assert long_season(np.array([1, 7, 12, 13, 24, 48, 96])).tolist() == [1, 364, 12, 52, 168, 336, 672]


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_autoregressive_noise_has_unit_spread_and_its_stated_memory(phi: float) -> None:
    noise = autoregressive_noise(np.random.default_rng(0), 400, 400, np.full(400, phi))
    assert np.square(noise).mean() == pytest.approx(1.0, abs=0.08)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(phi, abs=0.08)


def test_artefacts_are_sized_by_what_is_visible_of_a_series() -> None:
    """A series of 20 points cut from a long wandering one must not get the offsets of the long one."""
    lengths = np.full(600, 20)
    made = make_chunk(np.random.default_rng(0), np.full(600, 4), lengths, 400)[:, :20]
    level, spread = np.abs(np.nanmean(made, 1)), np.nanstd(made, 1) + 1e-9
    assert np.quantile(level / spread, 0.9) < 30
