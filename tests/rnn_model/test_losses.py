"""Losses against numbers worked out by hand."""

import pytest
import torch

from rnn_model.losses import TARGET_CLAMP, pinball, squared

NAN = float("nan")


def flat(value: float, steps: int = 1) -> torch.Tensor:
    """(1, steps, 9): all nine deciles at one value."""
    return torch.full((1, steps, 9), value)


@pytest.mark.parametrize(("target", "expected"), [(3.0, 0.5 * 3), (-3.0, 0.5 * 3), (0.0, 0.0)])
def test_pinball_of_equal_deciles_is_half_the_absolute_error(target: float, expected: float) -> None:
    assert pinball(flat(0.0), torch.tensor([[target]])).item() == pytest.approx(expected)


def test_pinball_weighs_each_decile_by_its_level() -> None:
    deciles = torch.zeros(1, 1, 9)
    deciles[0, 0, 8] = 4.0  # the 0.9 decile lies 2 above the target, the eight others 2 below it
    below = sum((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)) * 2
    assert pinball(deciles, torch.tensor([[2.0]])).item() == pytest.approx((below + 0.1 * 2) / 9)


def test_squared_looks_at_the_centre_alone() -> None:
    deciles = torch.full((1, 2, 9), 100.0)
    deciles[0, :, 4] = torch.tensor([1.0, 2.0])
    assert squared(deciles, torch.tensor([[4.0, 2.0]])).item() == pytest.approx((9 + 0) / 2)


@pytest.mark.parametrize(("loss", "expected"), [(pinball, 1.0), (squared, 4.0)])
def test_missing_targets_do_not_count(loss, expected: float) -> None:
    assert loss(flat(0.0, 3), torch.tensor([[NAN, 2.0, NAN]])).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [pinball, squared])
def test_missing_targets_send_no_gradient(loss) -> None:
    deciles = flat(0.0, 2).requires_grad_()
    loss(deciles, torch.tensor([[NAN, 2.0]])).backward()
    assert deciles.grad[0, 0].abs().sum() == 0
    assert deciles.grad[0, 1].abs().sum() > 0


@pytest.mark.parametrize("loss", [pinball, squared])
def test_without_any_target_the_loss_is_zero(loss) -> None:
    assert loss(flat(1.0, 2), torch.full((1, 2), NAN)).item() == 0.0


@pytest.mark.parametrize("loss", [pinball, squared])
def test_a_wild_target_counts_as_one_at_the_clamp(loss) -> None:
    wild, clamped = torch.tensor([[1e9]]), torch.tensor([[TARGET_CLAMP]])
    assert loss(flat(0.0), wild).item() == loss(flat(0.0), clamped).item() > 0
