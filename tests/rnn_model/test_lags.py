"""What a window held some steps ago."""

import pytest
import torch

from rnn_model.lags import filled_end, lagged, last_observed, look_up, recency

NAN = float("nan")


def test_what_is_looked_up_outside_or_missing_is_0_and_unknown() -> None:
    z = torch.tensor([[1.0, NAN, 3.0]])
    values, known = look_up(z, torch.tensor([[[-1, 0], [1, 2], [3, 99]]]))
    assert values[0].tolist() == [[0, 1], [0, 3], [0, 0]]
    assert known[0].tolist() == [[False, True], [False, True], [False, False]]


def test_each_row_has_its_own_lags() -> None:
    values, known = lagged(torch.tensor([[1.0, 2, 3], [4, 5, 6]]), torch.tensor([[1, 2], [2, 0]]))
    assert values.tolist() == [[[0, 0], [1, 0], [2, 1]], [[0, 4], [0, 5], [4, 6]]]
    assert known[0].tolist() == [[False, False], [True, False], [True, True]]


def test_weights_halve_from_the_latest_observed_point() -> None:
    weights = recency(torch.tensor([[1.0, 2, 3, NAN], [1, 2, 3, 4]]), torch.tensor([[1.0], [2.0]]))
    assert weights[0].tolist() == [0.25, 0.5, 1, 1]
    assert weights[1].tolist() == pytest.approx([2**-1.5, 0.5, 2**-0.5, 1])


def test_last_observed_skips_missing_points_and_is_0_where_there_is_none() -> None:
    z = torch.tensor([[1.0, 2, NAN, NAN], [NAN] * 4, [1, 2, 3, 4]])
    assert last_observed(z).tolist() == [2, 0, 4]


def test_the_end_is_filled_and_no_gap_before_it() -> None:
    z = torch.tensor([[1.0, NAN, 3, NAN, NAN], [NAN] * 5])
    assert filled_end(z)[0].tolist() == pytest.approx([1, NAN, 3, 3, 3], nan_ok=True)
    assert filled_end(z)[1].isnan().all()
