"""A corpus without the target's series under any name, and a pretraining that is the same every time."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows import stages
from rnn_model.checkpoint import ModelCard, load_model, save_model, weights_digest
from rnn_model.config import FitConfig, ModelConfig, SyntheticConfig
from rnn_model.errors import DataError, IntegrityError
from rnn_model.network import build_network
from rnn_model.training import Watch
from rnn_model.windows import from_arrays, load_windows
from tasks.config import HorizonConfig, TrackingConfig
from tasks.handles import Corpus, Dataset, Run
from tasks.pretrain import STRETCH, collect_windows, fit_corpus, start_from, stretches, synthesise
from tasks.series_config import SourceConfig

Stored = Callable[..., Dataset]
TINY = ModelConfig(width=8, num_layers=1, patch=4, context=16)
SMALL = SyntheticConfig(series=16)


def noise(seed: int, size: int = 60) -> list[float]:
    return np.random.default_rng(seed).normal(size=size).tolist()


def corpus(stored: Stored, tmp_path: Path, source: dict[str, list[float]], target: dict[str, list[float]]) -> Corpus:
    return collect_windows(stored(**source), stored(**target), tmp_path / "windows")


def series_of(made: Corpus) -> list[list[float]]:
    windows = load_windows(made.folder)
    return [windows.history(n).tolist() for n in range(len(windows))]


# ---- twins


@pytest.mark.parametrize(("first", "second"), [(0, 10), (10, 0), (7, 7)])
def test_a_copy_is_found_wherever_it_starts_and_whatever_its_name(
    stored: Stored, tmp_path: Path, first: int, second: int
) -> None:
    values = noise(1)
    made = corpus(stored, tmp_path, {"mine": values[first:], "other": noise(2)}, {"theirs": values[second:]})
    assert made.left_out == 1
    assert series_of(made) == [noise(2)]


def test_a_copy_within_another_history_is_found(stored: Stored, tmp_path: Path) -> None:
    values = noise(1)
    spliced = [*noise(3, 20), *values[20:40], *noise(4, 20)]
    assert corpus(stored, tmp_path, {"spliced": spliced, "other": noise(2)}, {"a": values}).left_out == 1


def test_every_common_stretch_is_found_once(stored: Stored) -> None:
    values = noise(1)
    longer, shorter = (stretches(pl.read_parquet(stored(a=v).data))["a"] for v in (values, values[10:]))
    assert len(np.intersect1d(longer, shorter)) == len(shorter) == 50 - STRETCH + 1


def test_a_missing_value_hides_no_copy(stored: Stored, tmp_path: Path) -> None:
    values: list[float | None] = [*noise(1)]
    values[30] = None
    assert corpus(stored, tmp_path, {"a": values, "b": noise(2)}, {"c": noise(1)}).left_out == 1


def test_unrelated_series_are_no_twins(stored: Stored, tmp_path: Path) -> None:
    source = {f"s{n}": noise(n, 100) for n in range(30)} | {"rounded": np.round(noise(77, 300), 1).tolist()}
    target = {f"t{n}": noise(1000 + n, 100) for n in range(30)} | {"rounded": np.round(noise(88, 300), 1).tolist()}
    made = corpus(stored, tmp_path, source, target)
    assert (made.left_out, made.series) == (0, 31)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([0.0, 1.0] * 30, id="alternating"),
        pytest.param([0.0] * 60, id="zeros"),
        pytest.param([0.0] * 30 + [1.0] * 30, id="one jump"),
    ],
)
def test_zeros_and_ones_are_never_twins(stored: Stored, tmp_path: Path, counts: list[float]) -> None:
    assert corpus(stored, tmp_path, {"a": counts, "b": noise(2)}, {"c": counts[1:]}).left_out == 0


def test_unrelated_series_of_zeros_and_ones_are_no_twins(stored: Stored, tmp_path: Path) -> None:
    drawn = {f"s{n}": np.random.default_rng(n).integers(0, 2, 200).astype(float).tolist() for n in range(40)}
    source, target = dict(list(drawn.items())[:20]), dict(list(drawn.items())[20:])
    assert corpus(stored, tmp_path, source, target).left_out == 0


def test_when_every_series_is_a_twin_there_is_nothing_to_learn_from(stored: Stored, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows: every series also stands in the target; pretrain on other series"):
        corpus(stored, tmp_path, {"a": noise(1), "b": noise(2)}, {"c": noise(2), "d": noise(1)})


def test_without_a_target_every_series_is_kept(stored: Stored, tmp_path: Path) -> None:
    made = collect_windows(stored(a=noise(1), b=noise(2)), None, tmp_path / "windows")
    assert (made.series, made.left_out) == (2, 0)
    assert (made.freq, made.periods) == ("D", (7, 364))
    assert series_of(made) == [noise(1), noise(2)]


# ---- the synthetic corpus


def test_the_corpus_holds_the_targets_season_and_none(data_folder: Path) -> None:
    made = synthesise(SMALL, "MS", (12, 12), 48, seed=0)
    assert (made.freq, made.periods, made.series) == ("MS", (12, 12), 16)
    assert json.loads((made.folder / "about.json").read_text())["periods"] == [1, 12]


@pytest.mark.parametrize(
    ("freq", "season", "periods"),
    [("W", None, (13, 52)), ("W", 52, (13, 52)), ("h", 168, (24, 168)), ("h", 12, (12, 12)), ("MS", None, (12, 12))],
)
def test_a_corpus_is_made_for_the_seasons_that_a_target_would_state(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, freq: str, season: int | None, periods: tuple[int, int]
) -> None:
    monkeypatch.setattr(stages, "synthesise", synthesise)
    source = SourceConfig(freq=freq, season=season, synthetic=SMALL)
    run = Run(uri="", experiment_id="", run_id="", name="")
    made = stages.prepare_corpus(source, HorizonConfig(horizon=4), 32, None, 0, run)
    assert made.periods == periods


def test_declared_periods_come_before_the_targets(data_folder: Path) -> None:
    made = synthesise(SMALL.model_copy(update={"periods": (5,)}), "MS", (12, 12), 48, seed=0)
    assert json.loads((made.folder / "about.json").read_text())["periods"] == [5]
    assert made.periods == (12, 12)


@pytest.mark.parametrize(("declared", "longest"), [(None, 48), (40, 40)])
def test_the_longest_series_has_the_declared_length_else_the_one_needed(
    data_folder: Path, declared: int | None, longest: int
) -> None:
    config = SyntheticConfig(series=400, length=declared)
    lengths = load_windows(synthesise(config, "MS", (12, 12), 48, seed=0).folder).lengths
    assert longest - 2 <= lengths.max() <= longest


def test_equal_arguments_give_the_same_corpus_and_another_seed_another(data_folder: Path) -> None:
    first, again, other = (synthesise(SMALL, "MS", (12, 12), 48, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.folder != other.folder
    assert series_of(first) != series_of(other)


# ---- the training


def test_pretraining_again_gives_the_same_weights_and_another_seed_others() -> None:
    windows = from_arrays([np.array(noise(n)) for n in range(40)], np.full((40, 2), 7))
    config = FitConfig(steps=4, batch_size=8, validate_every=2, averaging=0.5)
    digests = []
    for seed in (1, 1, 2):
        network = build_network(TINY, 4, seed=0)
        fit_corpus(network, windows, config, seed, Watch())
        digests.append(weights_digest(network))
    assert digests[0] == digests[1] != digests[2]


def test_the_series_that_validate_are_never_trained_on() -> None:
    def trained(last: float) -> str:
        arrays = [np.array(noise(n)).cumsum() for n in range(40)]
        arrays[-1][:50] += last  # of 40 series, the last two validate
        network = build_network(TINY, 4, seed=0)
        config = FitConfig(steps=1, batch_size=64, validate_every=1, averaging=0.0)
        seen: list[float] = []
        fit_corpus(
            network, from_arrays(arrays, np.full((40, 2), 7)), config, 0, Watch(lambda p: seen.append(p.train_loss))
        )
        return str(seen)

    assert trained(0.0) == trained(1e6)


# ---- starting from a model that is there


@pytest.fixture
def model(tmp_path: Path) -> Path:
    card = ModelCard(model=TINY, freq="D", periods=(7, 364), horizon=4, strategy="pretrain")
    return save_model(build_network(TINY, 4, seed=0), card, tmp_path / "model")


@pytest.mark.parametrize("asked", [None, ModelConfig(), TINY])
def test_a_model_starts_where_no_other_network_is_asked_for(model: Path, asked: ModelConfig | None) -> None:
    started = start_from(str(model), TrackingConfig(), asked)
    assert (started.folder, started.context, started.strategy) == (model, 16, "pretrain")
    assert started.weights == weights_digest(load_model(model)[0])


def test_another_network_than_the_models_is_refused_with_both(model: Path) -> None:
    asked = TINY.model_copy(update={"cell": "gru", "width": 9})
    with pytest.raises(IntegrityError, match=r"cell gru \(it has lstm\), width 9 \(it has 8\)"):
        start_from(str(model), TrackingConfig(), asked)
