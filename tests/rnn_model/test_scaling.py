"""Level and spread against numbers worked out by hand."""

import math

import pytest
import torch

from rnn_model.scaling import Scale, window_scale

NAN = float("nan")


def two_points(period: int, apart: int) -> Scale:
    """The scale of a window with a 3 `apart` steps before its end, a 0 at its end, and nothing else."""
    context = torch.full((1, 64), NAN)
    context[0, -1], context[0, -1 - apart] = 0.0, 3.0
    return window_scale(context, torch.tensor([period]))


def test_weights_halve_every_16_points_for_short_seasons() -> None:
    scale = two_points(period=8, apart=16)  # weights 1 and 1/2: mean 1.5 / 1.5, variance (0.5 * 4 + 1) / 1.5
    assert scale.level.item() == pytest.approx(1.0)
    assert scale.spread.item() == pytest.approx(math.sqrt(2))


def test_weights_halve_every_two_seasons_for_long_ones() -> None:
    scale = two_points(period=12, apart=24)
    assert scale.level.item() == pytest.approx(1.0)
    assert two_points(period=12, apart=16).level.item() > 1.0


def test_a_window_without_observations_gets_level_0_and_spread_1() -> None:
    scale = window_scale(torch.full((1, 8), NAN), torch.tensor([1]))
    assert (scale.level.item(), scale.spread.item()) == (0.0, 1.0)


def test_a_constant_window_has_a_millionth_of_its_size_as_spread() -> None:
    scale = window_scale(torch.full((1, 32), -250.0), torch.tensor([4]))
    assert scale.level.item() == pytest.approx(-250.0, rel=1e-12)
    assert scale.spread.item() == pytest.approx(250e-6)


def test_only_old_observations_still_set_the_level() -> None:
    context = torch.full((1, 4096), NAN)
    context[0, :10] = 5.0
    assert window_scale(context, torch.tensor([1])).level.item() == pytest.approx(5.0)


@pytest.mark.parametrize("size", [1e300, 1e30, 1e-25])
def test_scale_follows_the_unit_of_the_data(size: float) -> None:
    context = torch.tensor([[1.0, 4.0, 2.0, NAN, 7.0]], dtype=torch.float64)
    small, large = window_scale(context, torch.tensor([1])), window_scale(context * size, torch.tensor([1]))
    torch.testing.assert_close(large.level, small.level * size)
    torch.testing.assert_close(large.spread, small.spread * size)


def test_apply_is_arcsinh_of_the_standardised_value_and_keeps_missing_ones_missing() -> None:
    scale = Scale(torch.tensor([[10.0]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64))
    scaled = scale.apply(torch.tensor([[10.0, 12.0, 4.0, NAN]]))[0]
    assert scaled[:3].tolist() == pytest.approx([0.0, 0.881373587, -1.818446459])  # ln(1 + sqrt 2), -ln(3 + sqrt 10)
    assert scaled[3].isnan()


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 9)])
def test_invert_undoes_apply_for_points_and_for_deciles(shape: tuple[int, ...]) -> None:
    scale = Scale(torch.tensor([[3.0], [-1e6]]).double(), torch.tensor([[0.5], [1e4]]).double())
    scaled = torch.linspace(-4, 4, math.prod(shape)).view(shape)
    back = scale.apply(scale.invert(scaled).flatten(1)).view(shape)
    torch.testing.assert_close(back, scaled, rtol=1e-5, atol=1e-5)


def test_each_window_has_its_own_scale() -> None:
    context = torch.tensor([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    assert window_scale(context, torch.tensor([1, 1])).level[:, 0].tolist() == pytest.approx([1.0, 5.0])
