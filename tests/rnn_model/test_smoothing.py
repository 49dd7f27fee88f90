"""Seasons around a smoothed level, worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import noise
from torch import Tensor

from rnn_model import smoothing
from rnn_model.smoothing import LATEST, OLDER, seasonal_indices, smoothed_level, smoothed_seasons

NAN = float("nan")
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def indices(z: Tensor, period: int) -> Tensor:
    back = torch.arange(z.shape[1] - 1, -1, -1)
    m = torch.full((len(z), 1), period)
    return seasonal_indices(z, m, back // m, back % m)


# ---- seasonal indices


@pytest.mark.parametrize("period", [3, 4])
def test_a_line_has_no_season(period: int) -> None:
    line = torch.arange(20.0, dtype=torch.float64)[None] * 0.3
    assert indices(line, period)[0].tolist() == pytest.approx([0.0] * period, abs=1e-12)


def test_a_season_on_a_line_is_found_but_for_its_mean() -> None:
    cycle = torch.tensor([3.0, 1.0, -1.0, 1.0], dtype=torch.float64)  # of mean 1, the latest point first
    line = torch.arange(24.0, dtype=torch.float64) * 0.5
    series = (line + cycle.repeat(6).flip(0))[None]
    assert indices(series, 4)[0].tolist() == pytest.approx([2.0, 0.0, -2.0, 0.0])


def test_later_cycles_say_more_of_the_indices() -> None:
    z = torch.tensor([[0.0, 0, 3, 0, 0, 0, 0, 6, 0, 0]])
    # the means over five points around the points 2, 3, 4 are .6, around 5, 6, 7 they are 1.2; two are of phase 2
    twice = (OLDER * (3 - 0.6) + (6 - 1.2)) / (OLDER + 1)
    phases = [-0.6, -0.6, twice, -1.2, -1.2]  # the latest point's first
    mean = sum(phases) / 5
    assert indices(z, 5)[0].tolist() == pytest.approx([p - mean for p in phases])


def test_without_a_whole_season_there_are_no_indices() -> None:
    assert indices(noise(2, 11), 12).abs().max() == 0


def test_indices_are_told_only_where_more_than_half_of_the_phases_are_known() -> None:
    z = 5 * torch.sin(2 * math.pi * torch.arange(40.0, dtype=torch.float64) / 12)[None]
    assert indices(z[:, :18], 12).abs().max() == 0  # six points have a whole season around them
    found = indices(z[:, :19], 12)[0]
    known = found != 0
    assert known.sum() == 7
    assert found.sum().item() == pytest.approx(0.0, abs=1e-9)
    truth = z[0, :19].flip(0)[:12]
    assert (found - truth)[known].tolist() == pytest.approx([-truth[known].mean().item()] * 7)


def test_a_phase_that_was_never_observed_has_no_index_and_the_others_are_apart_from_their_mean() -> None:
    z = torch.tensor([[1.0, 2, 3, 4]]).repeat(1, 5)
    z[:, 1::4] = NAN
    mean = (1 + 3 + 4) / 3  # each mean of two means holds them all twice
    assert indices(z, 4)[0].tolist() == pytest.approx([4 - mean, 3 - mean, 0, 1 - mean])


def test_missing_points_behind_the_end_are_outside_as_those_in_front_are() -> None:
    z = noise(1, 40).cumsum(1) + torch.arange(40.0)
    behind = torch.nn.functional.pad(z, (0, 4), value=NAN)
    assert indices(behind, 4)[0].tolist() == pytest.approx(indices(z, 4)[0].tolist())


@pytest.mark.parametrize(("neighbour", "told"), [(1, True), (2, False)])
def test_half_of_a_season_has_to_be_observed_around_a_point(neighbour: int, told: bool) -> None:
    z = noise(1, 60)
    here = torch.arange(60) % 5
    z[:, (here != 0) & (here != neighbour)] = NAN  # pairs: of both means' eight points four are seen, or three
    assert bool(indices(z, 4).any()) is told


# ---- the level


def test_a_level_is_the_exponentially_weighted_mean_and_lies_so_far_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing, "RATES", (0.2,))
    y = noise(1, 150)
    y[0, 140] = NAN
    weights = [0.8 ** (149 - t) * (t != 140) for t in range(150)]
    expected = sum(w * float(v) for w, v in zip(weights, y[0].nan_to_num(0.0), strict=True)) / sum(weights)
    level, age = smoothed_level(y)
    assert level.item() == pytest.approx(expected)
    assert age.item() == pytest.approx(sum(w * (149 - t) for t, w in enumerate(weights)) / sum(weights))


def by_hand(y: list[float], rates: tuple[float, ...]) -> float:
    """The level of each rate, weighted by the likelihood of its errors where all of them forecast."""

    def level(rate: float, end: int) -> tuple[float, float]:
        known = [((1 - rate) ** (end - 1 - i), v) for i, v in enumerate(y[:end]) if not math.isnan(v)]
        weight = sum(w for w, _ in known)
        return sum(w * v for w, v in known) / max(weight, 1e-12), weight

    judged = [
        t
        for t in range(1, len(y))
        if not math.isnan(y[t])
        and sum(not math.isnan(v) for v in y[:t]) >= 3
        and all(level(rate, t)[1] >= 1e-12 for rate in rates)
    ]
    shares = []
    for rate in rates:
        squares = sum((y[t] - level(rate, t)[0]) ** 2 for t in judged)
        shares.append((squares / max(len(judged), 1) + 1e-6) ** (-len(judged) / 2))
    heard = [share * (level(rate, len(y))[1] >= 1e-12) for share, rate in zip(shares, rates, strict=True)]
    return sum(h * level(rate, len(y))[0] for h, rate in zip(heard, rates, strict=True)) / sum(heard)


@pytest.mark.parametrize("gap", [slice(0, 0), slice(4, 24), slice(12, 29), slice(20, 40)])
def test_rates_are_averaged_by_the_likelihood_of_errors_that_all_of_them_made(
    monkeypatch: pytest.MonkeyPatch, gap: slice
) -> None:
    monkeypatch.setattr(smoothing, "RATES", (0.1, 0.9))  # after twelve silent steps .9 knows of nothing
    y = noise(1, 40, seed=3)
    y[:, gap] = NAN
    assert smoothed_level(y)[0].item() == pytest.approx(by_hand(y[0].tolist(), (0.1, 0.9)))


def test_the_level_of_a_walk_is_its_end_and_that_of_noise_its_mean() -> None:
    walk, still = noise(20, 150).cumsum(1), noise(20, 150)
    assert (smoothed_level(walk)[0][:, 0] - walk[:, -1]).abs().mean() < 0.5  # its steps are of size 1
    assert smoothed_level(still)[0][:, 0].abs().mean() < 0.25  # the mean of the last sixty points is off by .1


def test_a_level_is_kept_through_a_gap_and_unknown_after_a_long_silence() -> None:
    short, long = torch.full((1, LATEST + 50), 2.0), torch.full((1, LATEST + 50), 2.0)
    short[:, -60:], long[:, -LATEST:] = NAN, NAN
    assert smoothed_level(short)[0].item() == pytest.approx(2.0)
    assert smoothed_level(short)[1].item() > 60
    assert smoothed_level(long)[0].isnan().all()


def test_what_is_older_than_the_latest_points_has_no_say() -> None:
    y = noise(1, LATEST + 20)
    other = y.clone()
    other[:, :20] = 9.0
    assert torch.equal(smoothed_level(y)[0], smoothed_level(other)[0])
    other[:, 21] = 9.0
    assert not torch.equal(smoothed_level(y)[0], smoothed_level(other)[0])


# ---- both


def test_a_season_goes_on_around_its_level() -> None:
    cycle = torch.tensor([2.0, 0, -2, 0])
    series = 5.0 + cycle.repeat(10)[None]
    laid, age = smoothed_seasons(series, torch.tensor([[4, 1]]), 6)
    assert laid[0, :, 0].tolist() == pytest.approx([7.0, 5, 3, 5, 7, 5], abs=1e-4)
    assert laid[0, :, 1].unique().numel() == 1  # a season of 1 has no indices
    assert age.shape == (1, 1, 2)


def test_each_row_has_its_own_seasons_and_equal_ones_are_the_same() -> None:
    z, periods = noise(3, 60), torch.tensor([[4, 12, 4], [12, 12, 1], [7, 7, 7]])
    together, ages = smoothed_seasons(z, periods, 5)
    for row in range(3):
        for column in range(3):
            alone, age = smoothed_seasons(z[row : row + 1], periods[row : row + 1, column : column + 1], 5)
            assert together[row, :, column].tolist() == pytest.approx(alone[0, :, 0].tolist())
            assert ages[row, 0, column].item() == pytest.approx(age.item())


def test_nothing_observed_is_unknown() -> None:
    laid, age = smoothed_seasons(torch.full((1, 40), NAN), torch.tensor([[4]]), 3)
    assert laid.isnan().all()
    assert age.isnan().all()


def test_a_season_longer_than_the_window_is_none() -> None:
    z = noise(2, 40)
    long, none = (smoothed_seasons(z, torch.tensor([[m], [m]]), 3)[0] for m in (5000, 1))
    assert torch.equal(long, none)


@PROPERTY
@given(
    length=st.integers(1, 80),
    padding=st.integers(0, 300),
    period=st.integers(1, 30),
    behind=st.integers(0, 6),
    seed=st.integers(0, 9),
)
def test_padding_changes_nothing(length: int, padding: int, period: int, behind: int, seed: int) -> None:
    z = noise(1, length, seed=seed)
    z[:, length - min(behind, length - 1) :] = NAN
    m = torch.tensor([[period]])
    padded = torch.nn.functional.pad(z, (padding, 0), value=NAN)
    for bare, cushioned in zip(smoothed_seasons(z, m, 9), smoothed_seasons(padded, m, 9), strict=True):
        torch.testing.assert_close(cushioned, bare, rtol=1e-9, atol=1e-9, equal_nan=True)
