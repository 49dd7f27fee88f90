"""Random numbers with an address."""

import numpy as np
import pytest
import torch

from rnn_model.seeding import numpy_rng, torch_rng


def test_an_address_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    first = numpy_rng(7, "batches", 3).random(5)
    numpy_rng(7, "batches", 2).random(100)
    np.random.default_rng(7).random(100)
    assert np.array_equal(numpy_rng(7, "batches", 3).random(5), first)


def test_the_numbers_of_an_address_are_these_in_every_process() -> None:
    """Recorded once: str.__hash__, which differs from process to process, has no part in them."""
    assert numpy_rng(7, "batches", 120).integers(1000, size=4).tolist() == [81, 29, 926, 37]


@pytest.mark.parametrize("other", [(8, "batches", 3), (7, "corpus", 3), (7, "batches", 4)])
def test_seed_purpose_and_step_each_change_the_numbers(other: tuple[int, str, int]) -> None:
    assert not np.array_equal(numpy_rng(7, "batches", 3).random(5), numpy_rng(*other).random(5))
    assert not torch.equal(
        torch.rand(5, generator=torch_rng(7, "batches", 3)), torch.rand(5, generator=torch_rng(*other))
    )


def test_torch_numbers_repeat_and_leave_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    first = torch.rand(5, generator=torch_rng(1, "x"))
    assert torch.equal(torch.rand(5, generator=torch_rng(1, "x")), first)
    assert torch.equal(torch.random.get_rng_state(), before)
