"""How far a model was made for is read from the model, wherever it was fetched from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from batch_maker import GOOD, HORIZON, Make, card
from shelf import Shelf

from rnn_model.artefact import MANIFEST, sha256_file
from rnn_model.checkpoint import CARD, save_model
from rnn_model.config import HORIZON_LIMIT
from rnn_model.errors import IntegrityError
from rnn_model.network import build_network
from tasks import download
from tasks.config import TrackingConfig
from tasks.download import download_model, keep_model
from tasks.finetune import target_card
from tasks.forecast import own_horizon, pin
from tasks.handles import Dataset, Model, WindowSet

TUNED: dict[str, Any] = {"horizon": 64, "lineage": {"parent": "p"}}


def model_at(folder: Path, **fields: Any) -> Path:
    own = card(**fields)
    return save_model(build_network(own.model, own.horizon, seed=1), own, folder)


def older(folder: Path) -> Path:
    """The same as it was written before a card told what it was tuned for."""
    raw = json.loads((folder / CARD).read_text())
    del raw["tuned_for"]
    (folder / CARD).write_text(json.dumps(raw | {"format": 3}))
    files = {p.name: sha256_file(p) for p in folder.iterdir() if p.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"sha256": files}))
    return folder


def sign(folder: Path, horizon: object) -> None:
    """What MLflow writes of a logged model, two folders above it."""
    params = json.dumps([{"name": "horizon", "type": "long", "default": horizon, "shape": None}])
    (folder.parents[1] / "MLmodel").write_text(yaml.safe_dump({"signature": {"params": params}}))


def of_the_horizon(notes: tuple[str, ...]) -> list[str]:
    return [note for note in notes if "tuned for" in note]


def test_a_folder_tells_what_it_was_tuned_for_wherever_it_lies(tmp_path: Path) -> None:
    folder = model_at(tmp_path / "anywhere", **TUNED, tuned_for=18)
    assert pin(str(folder), "sales", TrackingConfig()).horizon == 18


def test_tuning_writes_it_down(stored: Callable[..., Dataset], tmp_path: Path) -> None:
    handle = WindowSet.model_construct(freq="D", periods=(7, 364), gaps="missing", horizon=18)
    base = Model(folder=tmp_path, weights="w", strategy="pretrain", context=16)
    data = stored(a=[1.0, 2.0])
    assert target_card(card(horizon=64, freq="any", tuned_for=None), base, data, handle, {}).tuned_for == 18
    assert target_card(card(horizon=64, tuned_for=24), base, data, handle, {}).tuned_for == 18


def test_what_came_over_the_network_tells_it(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_at(tmp_path / "logged" / "artifacts" / "model", **TUNED, tuned_for=18)
    monkeypatch.setattr(download, "fetch", lambda *_: (tmp_path / "logged", False))
    folder = download_model("x", ["models:/m-1"])
    assert not (folder.parents[1] / "MLmodel").exists()
    assert pin(str(folder), "sales", TrackingConfig()).horizon == 18


def test_an_older_model_that_came_over_the_network_tells_what_it_was_logged_with(tmp_path: Path) -> None:
    folder = older(model_at(tmp_path / "logged" / "artifacts" / "model", **TUNED))
    sign(folder, 24)
    kept = keep_model(folder)
    assert kept != folder
    assert pin(str(kept), "sales", TrackingConfig()).horizon == 24
    assert keep_model(folder) == kept


def test_what_mlflow_says_does_not_count_against_the_card(tmp_path: Path) -> None:
    folder = model_at(tmp_path / "logged" / "artifacts" / "model", **TUNED, tuned_for=18)
    sign(folder, 24)
    assert pin(str(folder), "sales", TrackingConfig()).horizon == 18


@pytest.mark.parametrize("horizon", [0, HORIZON_LIMIT + 1, "many", None])
def test_an_older_model_with_a_signature_that_cannot_be_read_is_refused(tmp_path: Path, horizon: object) -> None:
    folder = older(model_at(tmp_path / "logged" / "artifacts" / "model", **TUNED))
    sign(folder, horizon)
    with pytest.raises(IntegrityError, match=f"names no horizon from 1 to {HORIZON_LIMIT}"):
        own_horizon(folder, card(**TUNED))


@pytest.mark.parametrize("text", ["[" * 20_000, "signature: {params: '" + "[" * 100_000 + "'}", "x" * 2**21, ""])
def test_a_signature_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    folder = older(model_at(tmp_path / "logged" / "artifacts" / "model", **TUNED))
    (folder.parents[1] / "MLmodel").write_text(text)
    with pytest.raises(IntegrityError, match="names no horizon"):
        own_horizon(folder, card(**TUNED))


def test_where_nothing_tells_it_the_forecast_says_which_was_taken(make: Make, tmp_path: Path) -> None:
    folder = older(model_at(tmp_path / "old", horizon=HORIZON, lineage={"parent": "p"}))
    pinned = pin(str(folder), "sales", TrackingConfig())
    (note,) = of_the_horizon(make(GOOD, pinned=pinned).notes)
    assert note.startswith(f"the model's card is of format 3, which does not tell how far it was tuned for; {HORIZON} ")
    assert of_the_horizon(make(GOOD, pinned=pinned, horizon=2).notes) == []


def test_a_base_model_says_nothing_of_it_and_needs_no_word(make: Make, tmp_path: Path) -> None:
    folder = model_at(tmp_path / "base", freq="any", periods=(1, 1), strategy="pretrain")
    assert of_the_horizon(make(GOOD, pinned=pin(str(folder), "sales", TrackingConfig())).notes) == []
