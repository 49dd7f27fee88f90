"""What one of several processes computes of a batch."""

import pytest
import torch

from rnn_model import parallel
from rnn_model.errors import ConfigError
from rnn_model.windows import Batch


def batch(windows: int) -> Batch:
    rows = torch.arange(float(windows))[:, None]
    return Batch(rows, rows, rows)


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "team", lambda: (1, 2))


@pytest.mark.usefixtures("second_of_two")
def test_a_batch_smaller_than_the_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size 1 is under the 2 processes; raise it"):
        parallel.share_of(batch(1))


def test_a_process_alone_computes_all() -> None:
    part, weight = parallel.share_of(batch(3))
    assert (part.context.flatten().tolist(), weight) == ([0, 1, 2], 1.0)


@pytest.mark.parametrize("windows", [2, 5, 8])
def test_two_processes_share_every_window_once_and_their_weights_mean_the_same(
    windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, mean = [], 0.0
    for rank in range(2):
        monkeypatch.setattr(parallel, "team", lambda rank=rank: (rank, 2))
        part, weight = parallel.share_of(batch(windows))
        rows += part.context.flatten().tolist()
        mean += weight * float(part.context.mean()) / 2  # as gradients are averaged over processes
    assert sorted(rows) == list(range(windows))
    assert mean == pytest.approx((windows - 1) / 2)
