"""The model that comes with the project: small, of synthetic origin, and ready for any frequency."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from flows.cli import PRESETS
from flows.forecast import forecast
from rnn_model.artefact import digest_json
from rnn_model.checkpoint import WEIGHTS, load_model
from rnn_model.config import DECILES, ModelConfig, SyntheticConfig
from tasks.config import BASE, BASE_FOLDER, HorizonConfig, TrackingConfig
from tasks.series_config import TargetConfig
from tasks.tracking import fetch_model

MONTHLY, HOURLY = ("MS", "1mo", 18), ("h", "1h", 96)  # 96 steps are one and a half times what it decodes at once


@pytest.fixture(scope="module")
def preset() -> dict[str, dict[str, object]]:
    return yaml.safe_load((PRESETS / "base.yaml").read_text())


def test_it_is_found_by_its_name_and_intact() -> None:
    assert fetch_model(BASE, TrackingConfig()) == BASE_FOLDER
    network, card = load_model(BASE_FOLDER)
    assert card.freq == "any"
    assert card.seen == {}
    assert sum(p.numel() for p in network.parameters()) <= 3_000_000
    assert (BASE_FOLDER / WEIGHTS).stat().st_size <= 16 * 2**20


def test_it_is_the_network_of_its_preset(preset: dict[str, dict[str, object]]) -> None:
    _, card = load_model(BASE_FOLDER)
    assert card.model == ModelConfig.model_validate(preset["model"])
    assert card.horizon == preset["window"]["horizon"]


def test_it_was_trained_on_synthetic_series_alone(preset: dict[str, dict[str, object]]) -> None:
    _, card = load_model(BASE_FOLDER)
    settings = SyntheticConfig.model_validate(preset["source"]["synthetic"])
    length = card.model.context + 2 * card.horizon
    made = settings.model_copy(update={"length": length}).model_dump(mode="json")
    # the fingerprint of the corpus: the generator's code, its settings and its seed, and nothing else
    origin = digest_json(["synthetic", made, settings.periods, preset["seed"], card.lineage["code"]])
    assert card.lineage == {"source": origin, "code": card.lineage["code"]}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("freq", "every", "horizon"), [MONTHLY, HOURLY])
def test_it_forecasts_any_frequency_without_training(tmp_path: Path, freq: str, every: str, horizon: int) -> None:
    rng = np.random.default_rng(0)
    values = {
        "season": 50 + 10 * np.sin(np.arange(200) * np.pi / (6 if freq == "MS" else 12)) + rng.normal(0, 1, 200),
        "constant": np.full(200, 7.0),
        "huge": 1e30 * rng.random(200),
        "tiny": 1e-30 * rng.random(200),
        "sparse": rng.poisson(0.2, 200).astype(float),
        "point": np.array([3.0]),
    }
    ds = pl.datetime_range(datetime(2000, 1, 1), datetime(2030, 1, 1), every, eager=True)
    frames = [pl.DataFrame({"unique_id": name, "ds": ds[200 - len(y) : 200], "y": y}) for name, y in values.items()]
    pl.concat(frames).write_parquet(tmp_path / "in.parquet")
    target = TargetConfig(path=str(tmp_path / "in.parquet"), freq=freq)
    made = forecast(target=target, window=HorizonConfig(horizon=horizon))
    out = pl.read_parquet(made.data)
    assert out.group_by("unique_id").len().sort("unique_id").rows() == [(name, horizon) for name in sorted(values)]
    assert np.isfinite(out.select(DECILES).to_numpy()).all()
    assert (np.diff(out.select(DECILES).to_numpy()) >= 0).all()
    own = {name: group for (name,), group in out.group_by("unique_id")}
    assert own["constant"]["y_hat"].to_list() == pytest.approx([7.0] * horizon, rel=1e-3)
    assert own["point"]["y_hat"].to_list() == pytest.approx([3.0] * horizon, rel=0.5)
    assert own["sparse"].select(DECILES).to_numpy().min() >= 0
    if freq == "MS":
        truth = 50 + 10 * np.sin(np.arange(200, 200 + horizon) * np.pi / 6)
        assert np.abs(own["season"]["y_hat"].to_numpy() - truth).mean() < 2.0  # the swing is 20
