"""One model for the whole batch, every series answered, and what was published before stands whatever happens."""

import errno
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shelf import Shelf

from rnn_model.artefact import open_checked, sha256_file
from rnn_model.checkpoint import ModelCard, load_model, save_model
from rnn_model.config import DECILES, ModelConfig
from rnn_model.errors import BusyError, CarryoverError, ConfigError, DataError, IntegrityError, WriteError
from rnn_model.network import build_network
from tasks import batches
from tasks import forecast as stage
from tasks.config import ForecastConfig, StepsConfig, TrackingConfig
from tasks.forecast import copy_forecast, forecast_dataset, own_horizon, pin
from tasks.forecast_log import published
from tasks.forecaster import COLUMNS, forecast_frame
from tasks.handles import Forecast, Pinned
from tasks.ingest import ingest_files
from tasks.series_config import TargetConfig

HORIZON, CONTEXT = 4, 16
DAY = datetime(2024, 1, 1)
WAVE = [float(5 + y) for y in (0, 3, 1, -4, 2, 2, -1)] * 6
INFINITY = float("inf")
GOOD: dict[str, list[float | None]] = {"a": [*WAVE], "b": [7.0], "c": [3.0, None, 5.0]}
Make = Callable[..., Forecast]


def rows(**series: list[float | None]) -> pl.DataFrame:
    points = [(name, DAY + timedelta(days=n), y) for name, values in series.items() for n, y in enumerate(values)]
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame(points, schema=schema, orient="row")


def card(**fields: Any) -> ModelCard:
    config = ModelConfig(width=8, num_layers=1, patch=4, context=CONTEXT)
    usual = {"model": config, "freq": "D", "periods": (7, 364), "horizon": HORIZON, "strategy": "full"}
    return ModelCard.model_validate(usual | fields)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny network as a folder, that has seen series a."""
    own = card(seen={"a": "2024-01-10"})
    return save_model(build_network(own.model, HORIZON, seed=1), own, tmp_path / "model")


@pytest.fixture
def target(tmp_path: Path) -> TargetConfig:
    return TargetConfig(path=str(tmp_path / "sales.parquet"), freq="D", max_quarantined=0.7)


@pytest.fixture
def make(target: TargetConfig, tmp_path: Path, model: Path) -> Make:
    """Series, ingested and forecast by the tiny model (or a pinned one); options go to the target."""

    def call(
        series: dict[str, list[float | None]],
        config: ForecastConfig = ForecastConfig(),
        pinned: Pinned | None = None,
        horizon: int | None = None,
        force: bool = False,
        **options: object,
    ) -> Forecast:
        rows(**series).write_parquet(tmp_path / "sales.parquet")
        asked = target.model_copy(update=options)
        dataset = ingest_files(asked, "sales", tmp_path / "raw")
        pinned = pinned or pin(str(model), "sales", TrackingConfig())
        return forecast_dataset(dataset, asked, pinned, StepsConfig(horizon=horizon), config, force)

    return call


# ---- the files


def test_the_file_holds_the_models_own_forecast_of_every_usable_series(make: Make, model: Path) -> None:
    frame = pl.read_parquet(make(GOOD).data)
    network, own = load_model(model)
    assert frame.columns == [*COLUMNS, "path"]
    assert frame.drop("path").equals(forecast_frame(network, own, rows(**GOOD), HORIZON))


def test_a_batch_holds_its_manifest_and_its_log_line_tells_of_it(make: Make) -> None:
    made = make(GOOD, as_of="2024-02-20")
    (batch,) = published("sales")
    assert open_checked(batch.folder) == made.folder
    assert batch.digest == sha256_file(made.data)
    assert made.folder.name == f"2024-02-11-{batch.key[:12]}"
    found = batch.model_dump(include={"rows", "series", "freq", "season", "gaps", "horizon", "as_of", "version"})
    assert found == {
        "rows": 12,
        "series": 3,
        "freq": "D",
        "season": 7,
        "gaps": "missing",
        "horizon": 4,
        "as_of": "2024-02-20",
        "version": None,
    }
    assert (batch.first_cutoff[:10], batch.last_cutoff[:10]) == ("2024-01-01", "2024-02-11")


def test_rows_after_as_of_move_no_forecast(make: Make) -> None:
    longer = {"a": [*WAVE, 100.0]}
    early, late = make({"a": [*WAVE]}), make(longer, as_of="2024-02-11")
    assert late.result == "already"
    assert make(longer).folder != early.folder


# ---- every series by its path


def test_every_series_is_answered_by_a_path_or_left_out_with_a_reason(make: Make) -> None:
    odd: dict[str, list[float | None]] = {
        "a": [*WAVE],
        "unknown": [*WAVE],
        "few": [1.0, 2.0],
        "spoilt": [*WAVE[:9], INFINITY, *WAVE[10:]],
        "empty": [None] * 9,
        "silent": [1.0] * 9 + [None] * CONTEXT,
    }
    made = make(odd)
    frame = pl.read_parquet(made.data)
    paths = dict(frame.select("unique_id", "path").unique().iter_rows())
    assert paths == {"a": "model", "unknown": "new", "few": "short", "spoilt": "naive"}
    assert made.left_out == {
        "spoilt": "naive: infinite value",
        "empty": "none: no value at all",
        "silent": f"none: no value in the last {CONTEXT} steps",
    }
    assert made.paths == {"model": 1, "naive": 1, "new": 1, "short": 1, "none": 2}
    assert set(paths) | set(pl.read_parquet(made.folder / "left_out.parquet")["unique_id"]) == set(odd)


def test_without_a_fallback_faulty_series_are_left_out(make: Make) -> None:
    made = make({"a": [*WAVE], "spoilt": [*WAVE[:9], INFINITY, *WAVE[10:]]}, ForecastConfig(fallback="none"))
    assert made.left_out == {"spoilt": "none: infinite value"}
    assert made.paths == {"model": 1, "none": 1}


def test_a_model_that_was_tuned_on_nothing_knows_every_series_alike(make: Make, tmp_path: Path) -> None:
    own = card()
    plain = save_model(build_network(own.model, HORIZON, seed=1), own, tmp_path / "plain")
    assert make({"z": [*WAVE]}, pinned=pin(str(plain), "sales", TrackingConfig())).paths == {"model": 1}


def test_how_many_values_are_short_can_be_declared(make: Make) -> None:
    assert make({"a": [*WAVE]}, ForecastConfig(short=43)).paths == {"short": 1}
    assert make({"a": [*WAVE]}, ForecastConfig(short=42)).paths == {"model": 1}


def test_more_series_left_out_than_allowed_stop_the_run_with_share_and_rule(make: Make) -> None:
    words = r"1 series cannot be forecast, a share of 25% \(allowed: 20%\): infinite value"
    with pytest.raises(DataError, match=words):
        make(GOOD | {"bad": [*WAVE, INFINITY]}, max_quarantined=0.2)
    assert published("sales") == ()


# ---- the horizon


def test_the_horizon_is_the_models_own_unless_another_is_asked_for(make: Make) -> None:
    assert make(GOOD).horizon == HORIZON
    assert make(GOOD, horizon=2).rows == 2 * 3


def test_a_horizon_past_what_the_model_answers_is_refused_with_its_limit(make: Make) -> None:
    with pytest.raises(ConfigError, match="horizon 7: this model answers 1 to 6 steps"):
        make(GOOD, horizon=7)


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


# ---- once


def test_what_was_published_is_not_made_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(GOOD)
    monkeypatch.setattr(stage, "answer_series", None)  # would fail
    again = make(GOOD)
    assert again.result == "already"
    assert again.sentence.startswith(f"nothing to do: published as {first.folder} on 20")
    assert again.model_copy(update={"result": first.result, "sentence": first.sentence}) == first
    assert len(published("sales")) == 1


def test_force_publishes_again_beside_the_old_one(make: Make) -> None:
    first, second, third = make(GOOD), make(GOOD, force=True), make(GOOD, force=True)
    assert [made.folder.name for made in (second, third)] == [f"{first.folder.name}-{n}" for n in (2, 3)]
    assert [batch.seq for batch in published("sales")] == [1, 2, 3]
    assert len({batch.digest for batch in published("sales")}) == 1


def test_other_data_keep_the_old_forecasts(make: Make) -> None:
    first = make(GOOD)
    second = make(GOOD | {"a": [*WAVE, 9.0]})
    assert open_checked(first.folder) != open_checked(second.folder)
    assert len(published("sales")) == 2


def test_files_that_are_gone_are_put_back_under_their_line(make: Make) -> None:
    first = make(GOOD)
    shutil.rmtree(first.folder)
    again = make(GOOD)
    assert (again.result, again.folder) == ("mended", first.folder)
    (batch,) = published("sales")
    assert sha256_file(again.data) == batch.digest


def test_a_folder_that_a_kill_left_without_a_line_is_taken(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(batches, "append_batch", None)  # as if killed just before it
        with pytest.raises(TypeError):
            make(GOOD)
    assert published("sales") == ()
    made = make(GOOD)
    (batch,) = published("sales")
    assert (made.result, batch.folder) == ("published", made.folder)
    assert [path.name for path in batch.folder.parent.glob("2024-*")] == [made.folder.name]


def test_two_writers_of_one_batch_log_it_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run publishes the same after this one has looked, and before it holds the lock."""
    real, other = stage.publish_work, []

    def late(*arguments: Any) -> Any:
        if not other:
            other.append(real(*arguments))
        return real(*arguments)

    monkeypatch.setattr(stage, "publish_work", late)
    assert make(GOOD).result == "already"
    assert len(published("sales")) == 1


# ---- faults: what was published before stands


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def damage_model(model: Path, patch: pytest.MonkeyPatch) -> None:
    (model / "weights.safetensors").write_bytes(b"")


def fill_disk(model: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "write_bytes", full_disk)


def fail_rename(model: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "rename", full_disk)


def damage_log(model: Path, patch: pytest.MonkeyPatch) -> None:
    log = published("sales")[0].folder.parent / "log.jsonl"
    log.write_text(log.read_text().replace('"rows":12', '"rows":13'))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (damage_model, IntegrityError),
        (fill_disk, WriteError),
        (fail_rename, WriteError),
        (damage_log, IntegrityError),
    ],
)
def test_a_batch_that_fails_leaves_the_old_one_and_nothing_else(
    make: Make,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    error: type[CarryoverError],
) -> None:
    first = make(GOOD)
    pinned = pin(str(model), "sales", TrackingConfig())
    with monkeypatch.context() as patch:
        fault(model, patch)
        with pytest.raises(error):
            make(GOOD, pinned=pinned, horizon=3)
    assert open_checked(first.folder)
    assert [path.name for path in first.folder.parent.iterdir() if path.is_dir()] == [first.folder.name]


def test_a_model_that_changed_after_it_was_pinned_is_refused(make: Make, model: Path) -> None:
    pinned = pin(str(model), "sales", TrackingConfig())
    shutil.rmtree(model)
    save_model(build_network(card().model, HORIZON, seed=2), card(), model)
    with pytest.raises(IntegrityError, match="weights changed since the batch began"):
        make(GOOD, pinned=pinned)


def test_a_second_writer_waits_and_then_is_told_who_writes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnn_model.artefact import held
    from tasks import registry
    from tasks.forecast_log import forecasts_folder

    monkeypatch.setattr(registry, "WAIT_SECONDS", 0.1)
    with held(forecasts_folder("sales") / "log.jsonl"), pytest.raises(BusyError, match="process"):
        make(GOOD)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"freq": "h"}, "made for freq D, the target has h"),
        ({"gaps": "zero"}, r"made with gaps missing, the target has zero; use --target\.gaps missing"),
        ({"season": 5}, r"made with season 7, the target has 5; use --target\.season 7"),
    ],
)
def test_a_target_of_another_rhythm_is_refused_with_both(make: Make, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(GOOD, **options)


# ---- the champion


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


# ---- copies


def test_a_copy_is_what_was_published(make: Make, tmp_path: Path) -> None:
    made = make(GOOD)
    copied = copy_forecast.fn(made, tmp_path / "out" / "next.parquet")
    assert copied.output is not None
    assert pl.read_parquet(copied.output).equals(pl.read_parquet(made.data))


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\tx", "\rx"])
def test_a_name_that_a_spreadsheet_would_run_is_escaped_in_csv_and_exact_in_parquet(make: Make, name: str) -> None:
    made = make({name: [-value for value in WAVE]}, ForecastConfig(csv=True))
    text = pl.read_csv(made.folder / "forecast.csv")
    assert pl.read_parquet(made.data)["unique_id"].unique().to_list() == [name]
    assert text["unique_id"].unique().to_list() == [f"'{name}"]
    assert text.schema["y_hat"] == pl.Float64
    assert text.select(DECILES).equals(pl.read_parquet(made.data).select(DECILES))
    assert (text["0.1"] < 0).all()  # numbers keep their sign, and get no quote


def test_a_csv_asked_for_later_is_pointed_to(make: Make) -> None:
    make(GOOD)
    assert make(GOOD, ForecastConfig(csv=True)).sentence.endswith("--output FILE.csv writes one")
