"""One model for the whole batch, and as far as it was made for."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from batch_maker import GOOD, HORIZON, Make, card, rows
from shelf import Shelf

from rnn_model.checkpoint import load_model
from rnn_model.errors import IntegrityError
from tasks import forecast as stage
from tasks.forecast import own_horizon, pin
from tasks.forecast_log import published
from tasks.forecaster import COLUMNS, forecast_frame


def test_the_whole_batch_is_the_version_that_was_champion_when_it_began(
    make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.succession(1)
    real = stage.answer_series

    def while_another_is_promoted(*arguments: Any) -> Any:
        assert shelf.promote(2, 1) == "promoted"
        return real(*arguments)

    monkeypatch.setattr(stage, "answer_series", while_another_is_promoted)
    made = make(GOOD, pinned=pin("champion", shelf.name, shelf.config))
    (batch,) = published("sales")
    assert shelf.champion == 2
    assert (batch.version, batch.model, batch.weights) == (
        1,
        f"models:/{shelf.name}/1",
        shelf.logged[0][1].weights,
    )
    network, own = load_model(shelf.logged[0][1].folder)
    assert pl.read_parquet(made.data).select(COLUMNS).equals(forecast_frame(network, own, rows(**GOOD), HORIZON))


@pytest.mark.parametrize("name", ["models:/{}@champion", "models:/{}/1"])
def test_an_address_is_pinned_to_its_version_too(shelf: Shelf, name: str) -> None:
    shelf.succession(1)
    assert pin(name.format(shelf.name), "other", shelf.config) == pin("champion", shelf.name, shelf.config)


def test_no_champion_is_said_with_what_to_do(shelf: Shelf) -> None:
    with pytest.raises(IntegrityError, match=f"model {shelf.name} has no champion yet; carryover run promotes one"):
        pin("champion", shelf.name, shelf.config)


def test_a_champion_that_cannot_be_used_is_an_error_and_no_other_model(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    shelf.execute(f"UPDATE model_versions SET status = 'PENDING_REGISTRATION' WHERE name = '{shelf.name}'")
    with pytest.raises(IntegrityError, match="version 2 reads PENDING_REGISTRATION"):
        pin("champion", shelf.name, shelf.config)
    shelf.client.delete_model_version(shelf.name, "2")
    with pytest.raises(IntegrityError, match="@champion is gone"):
        pin("champion", shelf.name, shelf.config)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"horizon": 24}, 24),
        ({"horizon": 24, "freq": "any"}, 8),
        ({"horizon": 24, "lineage": {"parent": "p"}}, 8),
        ({"horizon": 5, "lineage": {"parent": "p"}}, 5),
    ],
)
def test_a_folder_tells_its_horizon_unless_it_may_be_its_parents(
    fields: dict[str, Any], steps: int, tmp_path: Path
) -> None:
    assert own_horizon(tmp_path, card(**fields)) == steps
