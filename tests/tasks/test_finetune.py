"""What a tuned model has seen, which strategies may compete, and which models are refused as a start."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from rnn_model.checkpoint import ModelCard
from rnn_model.config import ModelConfig, Strategy
from rnn_model.errors import ConfigError
from rnn_model.windows import Split, Windows, from_arrays
from tasks.config import BacktestConfig, FinetuneConfig, WindowConfig
from tasks.finetune import FEWEST_WINDOWS, allowed_strategies, check_rhythm, drawing, last_times, target_card
from tasks.handles import Dataset, Model, WindowSet
from tasks.window import open_windows, window_dataset

Stored = Callable[..., Dataset]
CARD = ModelCard(
    model=ModelConfig(width=8, num_layers=1, patch=4, context=16),
    freq="MS",
    periods=(12, 12),
    horizon=2,
    strategy="pretrain",
    lineage={"source": "s", "code": "c"},
)
BASE = Model(folder=Path("base"), weights="w", strategy="pretrain", context=16)


def line(points: int) -> list[float]:
    return [float(n) for n in range(points)]


def opened(dataset: Dataset, root: Path, validation: int = 1) -> tuple[WindowSet, Windows, Split]:
    """Horizon 2, one test cutoff: n points leave n - 4 to train on, in windows of 2 after half of n - 2 or more."""
    window = WindowConfig(horizon=2, min_history=3, validation=validation)
    handle = window_dataset(dataset, window, BacktestConfig(cutoffs=1), root)
    return handle, *open_windows(handle)


# ---- what was seen


def test_the_last_time_seen_is_that_of_the_last_point_before_the_end(stored: Stored, tmp_path: Path) -> None:
    dataset = stored(b=line(12), a=line(10))
    _, windows, split = opened(dataset, tmp_path)
    seen = last_times(dataset, windows, split.tuning(windows).end)  # 12 - 2 and 10 - 2 points
    assert {name: datetime.fromisoformat(time) for name, time in seen.items()} == {
        "b": datetime(2024, 1, 10),
        "a": datetime(2024, 1, 8),
    }


def test_a_series_of_which_nothing_was_seen_has_no_last_time(stored: Stored, tmp_path: Path) -> None:
    dataset = stored(a=line(12), b=line(12), c=line(12))
    _, windows, _ = opened(dataset, tmp_path)
    assert set(last_times(dataset, windows, np.array([3, 0, 1]))) == {"a", "c"}


def test_a_model_tuned_again_has_seen_a_series_up_to_the_later_time(stored: Stored, tmp_path: Path) -> None:
    dataset = stored(a=line(12))
    handle, _, _ = opened(dataset, tmp_path)
    before = CARD.model_copy(update={"seen": {"a": "2024-05-01", "b": "2020-01-01", "z": "2021-01-01"}})
    after = target_card(before, BASE, dataset, handle, {"a": "2024-03-01", "b": "2024-03-01", "c": "2024-03-01"})
    assert after.seen == {"a": "2024-05-01", "b": "2024-03-01", "c": "2024-03-01", "z": "2021-01-01"}


def test_a_tuned_model_has_the_targets_rhythm_and_names_its_parent(stored: Stored, tmp_path: Path) -> None:
    dataset = stored(a=line(12))
    handle, _, _ = opened(dataset, tmp_path)
    card = target_card(CARD, BASE, dataset, handle.model_copy(update={"gaps": "zero"}), {})
    assert (card.freq, card.periods, card.gaps, card.horizon) == ("D", (7, 364), "zero", 2)
    assert card.lineage == {"source": "s", "code": "c", "target": dataset.fingerprint, "parent": "w"}


# ---- who competes


def test_under_ten_training_windows_zero_shot_stands_alone_and_says_why(stored: Stored, tmp_path: Path) -> None:
    handle, windows, split = opened(stored(a=line(26)), tmp_path)
    strategies, reason = allowed_strategies(windows, split, handle, FinetuneConfig(), members=1)
    assert strategies == ("zero-shot",)
    assert "9 training and 1 validation windows; tuning needs 10 and 1" in reason


def test_ten_training_windows_are_enough(stored: Stored, tmp_path: Path) -> None:
    handle, windows, split = opened(stored(a=line(27)), tmp_path)
    strategies, reason = allowed_strategies(windows, split, handle, FinetuneConfig(), members=1)
    assert FEWEST_WINDOWS == 10
    assert strategies == FinetuneConfig().strategies
    assert reason == ""


def test_without_a_validation_window_nothing_is_tuned(stored: Stored, tmp_path: Path) -> None:
    short = {f"s{n}": line(7) for n in range(20)}  # 5 points before the test: one window of 3 and 2
    handle, windows, split = opened(stored(**short), tmp_path, validation=1)
    none = Split(split.test, np.full_like(split.validation, -1), split.history)
    strategies, reason = allowed_strategies(windows, none, handle, FinetuneConfig(), members=1)
    assert strategies == ("zero-shot",)
    assert "20 training and 0 validation windows" in reason


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (("average", "full"), ("zero-shot", "full", "average")),
        (("ensemble", "average", "scratch", "full"), ("zero-shot", "scratch", "full", "average", "ensemble")),
        (("biases", "zero-shot", "full"), ("zero-shot", "biases", "full")),
        (("full", "full"), ("zero-shot", "full")),
        (("head",), ("zero-shot", "head")),
    ],
)
def test_zero_shot_always_competes_first_and_what_is_made_of_others_last(
    stored: Stored, tmp_path: Path, declared: tuple[Strategy, ...], expected: tuple[Strategy, ...]
) -> None:
    handle, windows, split = opened(stored(a=line(40)), tmp_path)
    assert allowed_strategies(windows, split, handle, FinetuneConfig(strategies=declared), members=1)[0] == expected


def test_no_ensemble_is_made_from_one(stored: Stored, tmp_path: Path) -> None:
    handle, windows, split = opened(stored(a=line(40)), tmp_path)
    config = FinetuneConfig(strategies=("scratch", "ensemble"))
    assert allowed_strategies(windows, split, handle, config, members=2)[0] == ("zero-shot", "scratch")


# ---- what may be tuned


def test_a_model_of_another_frequency_is_refused(stored: Stored, tmp_path: Path) -> None:
    handle, _, _ = opened(stored(a=line(12)), tmp_path)
    with pytest.raises(ConfigError, match="made for freq MS, the target has D"):
        check_rhythm(CARD, handle)


def test_a_horizon_past_the_models_is_refused_with_both(stored: Stored, tmp_path: Path) -> None:
    handle, _, _ = opened(stored(a=line(12)), tmp_path)
    daily = CARD.model_copy(update={"freq": "D", "horizon": 1})
    with pytest.raises(ConfigError, match="decodes 1 step, the target asks for 2"):
        check_rhythm(daily, handle)


@pytest.mark.parametrize("horizon", [2, 3])
def test_a_horizon_up_to_the_models_is_taken(stored: Stored, tmp_path: Path, horizon: int) -> None:
    handle, _, _ = opened(stored(a=line(12)), tmp_path)
    check_rhythm(CARD.model_copy(update={"freq": "D", "horizon": horizon}), handle)


# ---- replay


def constants(values: list[float], points: int = 40) -> Windows:
    return from_arrays([np.full(points, value) for value in values], np.full((len(values), 2), 7))


def test_a_share_of_every_batch_is_replayed_from_what_pretraining_learnt_from() -> None:
    own, corpus = constants([1.0, 2.0]), constants([100.0 + n for n in range(20)])
    config = FinetuneConfig(batch_size=8, replay=0.25)
    draw = drawing(own, corpus, config, (16, 2, 4), seed=0)
    seen = set()
    for step in range(40):
        batch = draw(step)
        latest = batch.context[:, -1]
        assert batch.context.shape == (8, 16)
        assert (latest < 10).sum() == 6
        seen |= set(latest[latest > 10].tolist())
    assert seen == {100.0 + n for n in range(19)}  # the last one is held out


def test_without_replay_batches_are_the_targets_alone() -> None:
    own, corpus = constants([1.0, 2.0]), constants([100.0] * 20)
    alone, beside = (drawing(own, known, FinetuneConfig(batch_size=8), (16, 2, 4), seed=0) for known in (None, corpus))
    assert beside(3).context.nan_to_num(-1).equal(alone(3).context.nan_to_num(-1))
    assert beside(3).context.nan_to_num(0).max() < 10


def test_a_small_share_of_a_small_batch_is_a_window_at_least() -> None:
    draw = drawing(constants([1.0]), constants([100.0] * 20), FinetuneConfig(batch_size=4, replay=0.1), (16, 2, 4), 0)
    assert (draw(0).context[:, -1] > 10).sum() == 1


def test_a_replay_that_leaves_nothing_of_the_batch_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"replay 0\.9 leaves nothing of a batch of 1"):
        FinetuneConfig(batch_size=1, replay=0.9)
