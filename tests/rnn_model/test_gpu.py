"""On a GPU: the same losses, finite in low precision too, and a network that comes back to the CPU."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from rnn_model.config import FitConfig
from rnn_model.forecasting import predict
from rnn_model.network import Network
from rnn_model.training import FitResult, Material, batch_loss, fit
from rnn_model.validation import window_losses
from rnn_model.windows import Batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

Build = Callable[..., Network]
Learn = Callable[..., Material]
QUICK = FitConfig(steps=20, batch_size=8, validate_every=10, learning_rate=0.01, averaging=0.5)


class Fitted(NamedTuple):
    """A network trained on the GPU in low precision."""

    spine: str
    network: Network
    result: FitResult


@pytest.fixture(scope="module", params=["residual", "plain"])
def fitted(request: pytest.FixtureRequest, fresh: Build, material: Learn) -> Fitted:
    network = fresh(spine=request.param)
    config = QUICK.model_copy(update={"device": "cuda", "precision": "bfloat16"})
    return Fitted(request.param, network, fit(network, material(), config))


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_loss_is_the_same_on_both_devices(lively: Build, material: Learn, spine: str, cell: str) -> None:
    network, batch = lively(spine=spine, cell=cell), material().draw(1)
    here = batch_loss(network, batch).item()
    there = batch_loss(network.to("cuda"), batch).item()
    assert there == pytest.approx(here, rel=2e-3)  # recurrences may run in TF32, which has a mantissa of 10 bits


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_validation_is_the_same_on_both_devices(lively: Build, spine: str) -> None:
    both = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both[1] = (0.1 * torch.arange(40.0) + 0.02 * both[1]).exp()  # grows by a factor
    both[2] = torch.where(both[2] > 0.5, both[2], 0.0)  # rests on zero
    batch = Batch(both[:, :32], both[:, 32:], torch.full((3, 2), 4))
    network = lively(spine=spine)
    here = window_losses(network, [batch])
    torch.testing.assert_close(window_losses(network.to("cuda"), [batch]), here, rtol=2e-3, atol=1e-4)


def test_losses_in_low_precision_are_finite(fitted: Fitted) -> None:
    losses = [loss for p in fitted.result.history for loss in (p.train_loss, p.validation_loss, p.gradient_norm)]
    assert len(losses) == 6
    assert torch.tensor(losses).isfinite().all()


def test_a_network_fitted_on_a_gpu_ends_on_the_cpu_in_full_precision(fitted: Fitted) -> None:
    kinds = {(value.device.type, value.dtype) for value in fitted.network.state_dict().values()}
    assert kinds == {("cpu", torch.float32)}


def test_its_forecast_is_near_that_of_a_fit_on_the_cpu(fitted: Fitted, fresh: Build, material: Learn) -> None:
    network, batch = fresh(spine=fitted.spine), material().validation[0]
    fit(network, material(), QUICK)
    there, here = (scaled(n, batch) for n in (fitted.network, network))
    assert (there - here).abs().mean() < 0.1 * (here - scaled(fresh(spine=fitted.spine), batch)).abs().mean()


def scaled(network: Network, batch: Batch) -> torch.Tensor:
    """Deciles (B, H, Q) in units of each window's spread."""
    spread = batch.context.std(1)[:, None, None]
    return predict(network, batch.context, batch.periods, batch.target.shape[1]) / spread
