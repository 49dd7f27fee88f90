"""Night after night: who becomes champion, who stays, and what never promotes."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow.tracking import MlflowClient

from flows.forecast import forecast
from flows.pipeline import pipeline
from rnn_model.checkpoint import load_card
from tasks.champion import champion
from tasks.config import NOTHING, BacktestConfig, FinetuneConfig, GateConfig, TrackingConfig, WindowConfig
from tasks.forecast_log import published
from tasks.handles import Outcome
from tasks.series_config import ColumnsConfig, TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")

QUICK = FinetuneConfig(strategies=("zero-shot",))
ANY_WIDTH = (0.0, 1.0)  # so regular a series is forecast with too wide intervals
CUTOFFS, HORIZON, POINTS = 3, 4, 72


def growing(path: Path, prefix: str = "s", bend: bool = False) -> Path:
    """Twelve monthly series that grow by a step a month around a season; of those that bend, the test goes down."""
    rng, time = np.random.default_rng(7), np.arange(POINTS)
    ds = pl.datetime_range(datetime(2015, 1, 1), datetime(2020, 12, 1), "1mo", eager=True)
    turn = np.where(time >= POINTS - HORIZON * CUTOFFS, -20.0 * (time - POINTS + HORIZON * CUTOFFS + 1), 0.0)
    rows = [
        pl.DataFrame(
            {
                "unique_id": f"{prefix}{n}",
                "region": "north" if n % 2 else "south",
                "ds": ds,
                "y": 50 + time + 5 * np.sin(time * np.pi / 6) + rng.normal(0, 0.3, POINTS) + bend * turn,
            }
        )
        for n in range(12)
    ]
    pl.concat(rows).write_parquet(path)
    return path


def night(path: Path, **sections: object) -> Outcome:
    usual: dict[str, object] = {
        "window": WindowConfig(horizon=HORIZON),
        "finetune": QUICK,
        "backtest": BacktestConfig(cutoffs=CUTOFFS, baselines=("SeasonalNaive",)),
        "gate": GateConfig(coverage=ANY_WIDTH),
    }
    target = TargetConfig(path=str(path), freq="MS", columns=ColumnsConfig(segment="region"))
    return pipeline(target=target, **(usual | sections))


def champion_folder(name: str) -> Path:
    found = champion(name, TrackingConfig())
    assert found is not None
    return found.folder


def version_of(name: str) -> int | None:
    found = champion(name, TrackingConfig())
    return found.version if found else None


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return night(growing(tmp_path_factory.mktemp("data") / "growing.parquet"))


def test_the_first_champion_has_beaten_the_seasonal_naive(first: Outcome) -> None:
    assert first.decision is not None
    assert first.promotion is not None
    assert (first.decision.outcome, first.decision.champion) == ("promote", "SeasonalNaive")
    assert (first.promotion.result, first.promotion.version, version_of("growing")) == ("promoted", 1, 1)


def test_the_gate_looks_at_groups_of_ones_own(first: Outcome) -> None:
    assert first.decision is not None
    parts = {effect.part: effect.series for effect in first.decision.effects}
    assert (parts["segment=north"], parts["segment=south"]) == (6, 6)


def test_the_champion_is_the_evaluated_model_bit_for_bit(first: Outcome) -> None:
    found = champion("growing", TrackingConfig())
    assert found is not None
    assert found.weights == first.model.weights
    assert load_card(found.folder) == load_card(first.model.folder)


def test_the_same_night_again_changes_nothing(first: Outcome, tmp_path: Path) -> None:
    again = night(growing(tmp_path / "growing.parquet"))
    assert again.decision is not None
    assert again.promotion is not None
    assert (again.decision.outcome, again.promotion.result) == ("keep", "kept")
    assert again.decision.address == "models:/growing/1"
    assert again.evaluation is not None
    assert again.evaluation.table["champion"] == again.evaluation.table["zero-shot"]
    assert version_of("growing") == 1
    assert len(MlflowClient(first.run.uri).search_model_versions("name = 'growing'")) == 1


@pytest.mark.usefixtures("first")
def test_the_champion_forecasts_as_far_as_it_was_tuned_for(tmp_path: Path) -> None:
    target = TargetConfig(path=str(growing(tmp_path / "growing.parquet")), freq="MS")
    made = forecast("champion", target)
    assert (made.model, made.horizon, made.paths) == ("models:/growing/1", HORIZON, {"model": 12})
    assert made.horizon < load_card(champion_folder("growing")).horizon  # the base model's, which decodes more
    (batch,) = published("growing")
    assert (batch.version, batch.folder) == (1, made.folder)


@pytest.mark.usefixtures("first")
def test_another_target_under_the_same_name_promotes_nothing(tmp_path: Path) -> None:
    other = night(growing(tmp_path / "growing.parquet", prefix="other"))
    assert other.decision is not None
    assert other.decision.outcome == "not enough evidence"
    assert "models:/growing/1 cannot be compared: it has seen 12 series, the target has 12, and only 0" in (
        other.decision.sentence
    )
    assert version_of("growing") == 1


@pytest.mark.usefixtures("first")
def test_a_champion_that_has_seen_the_answers_is_not_compared(tmp_path: Path) -> None:
    more = BacktestConfig(cutoffs=CUTOFFS + 2, baselines=("SeasonalNaive",))
    done = night(growing(tmp_path / "growing.parquet"), backtest=more)
    assert done.decision is not None
    assert "models:/growing/1 cannot be compared: the model has seen series" in done.decision.sentence
    assert version_of("growing") == 1


def test_a_model_worse_than_the_seasonal_naive_becomes_no_champion(tmp_path: Path) -> None:
    done = night(growing(tmp_path / "bending.parquet", bend=True))
    assert done.decision is not None
    assert not done.decision.promotes
    assert version_of("bending") is None


def test_a_rehearsal_registers_nothing(first: Outcome, tmp_path: Path) -> None:
    done = night(growing(tmp_path / "rehearsed.parquet"), gate=GateConfig(champion=NOTHING, coverage=ANY_WIDTH))
    assert done.decision is not None
    assert done.decision.promotes
    assert done.promotion is None
    names = [model.name for model in MlflowClient(first.run.uri).search_registered_models()]
    assert "rehearsed" not in names
