"""Forecasts come in the zone that the times came in, and the log, the truth and the copies agree on the instants."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from batch_maker import HORIZON, card

from rnn_model.checkpoint import save_model
from rnn_model.errors import ConfigError, DataError
from rnn_model.network import build_network
from tasks.arrivals import known_at, read_forecasts, with_truth
from tasks.config import ForecastConfig, StepsConfig, TrackingConfig
from tasks.forecast import copy_forecast, forecast_dataset, pin
from tasks.forecast_log import published
from tasks.handles import Dataset, Forecast
from tasks.ingest import ingest_files
from tasks.series_config import TargetConfig
from tasks.serving import asked_rows

BERLIN = ZoneInfo("Europe/Berlin")
LENGTH = 24 * 4
LAST = datetime(2024, 10, 26, 22, tzinfo=UTC)  # midnight: the forecast crosses the hour that is there twice
HOURS = [(LAST - n * timedelta(hours=1)).astimezone(BERLIN) for n in reversed(range(LENGTH))]
NEXT = [(LAST + n * timedelta(hours=1)).astimezone(BERLIN).isoformat() for n in range(1, HORIZON + 1)]
LOCAL = pl.Series([hour.strftime("%Y-%m-%d %H:%M") for hour in HOURS])
Publish = Callable[..., tuple[Forecast, Dataset]]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Hourly times, as a column of CSV or Parquet, ingested and forecast by a tiny model."""
    monkeypatch.setenv("CARRYOVER_HOME", str(tmp_path))
    own = card(freq="h", periods=(24, 168))
    save_model(build_network(own.model, HORIZON, seed=1), own, tmp_path / "model")

    def call(times: pl.Series, csv: bool = True, **options: object) -> tuple[Forecast, Dataset]:
        y = 10 + np.sin(np.arange(len(times)) * np.pi / 12)
        frame = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": y})
        path = tmp_path / f"meter.{'csv' if csv else 'parquet'}"
        (frame.write_csv if csv else frame.write_parquet)(path)
        target = TargetConfig.model_validate({"path": str(path), "freq": "h"} | options)
        dataset = ingest_files(target, "meter", tmp_path / "raw")
        pinned = pin(str(tmp_path / "model"), "meter", TrackingConfig())
        steps, config = StepsConfig(horizon=None), ForecastConfig(csv=True)
        return forecast_dataset(dataset, target, pinned, steps, config, False), dataset

    return call


def instants(count: int = LENGTH) -> pl.Series:
    return pl.Series([hour.astimezone(UTC).replace(tzinfo=None) for hour in HOURS[:count]], dtype=pl.Datetime("us"))


def zoned(name: str, count: int = LENGTH) -> pl.Series:
    return instants(count).dt.replace_time_zone("UTC").dt.convert_time_zone(name)


def texts(made: Forecast) -> list[str]:
    return pl.read_parquet(made.data)["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S%:z").to_list()


def test_a_column_with_a_zone_comes_out_in_it(publish: Publish, tmp_path: Path) -> None:
    made, _ = publish(zoned("Europe/Berlin"), csv=False)
    frame = pl.read_parquet(made.data)
    assert frame.schema["ds"] == frame.schema["cutoff"] == pl.Datetime("us", "Europe/Berlin")
    assert texts(made) == NEXT  # 01:00, 02:00, 02:00, 03:00
    copied = copy_forecast(made, tmp_path / "copy.csv").output
    assert copied is not None
    for path in (made.folder / "forecast.csv", copied):
        lines = pl.read_csv(path)["ds"].to_list()
        assert [datetime.fromisoformat(line).astimezone(BERLIN).isoformat() for line in lines] == NEXT
        assert [line[-6:] for line in lines] == ["+02:00", "+02:00", "+01:00", "+01:00"]


@pytest.mark.parametrize(
    ("times", "options", "zone"),
    [
        (pl.Series([hour.isoformat() for hour in HOURS]), {}, "Etc/GMT-2"),
        (pl.Series([hour.isoformat() for hour in HOURS]), {"timezone": "Europe/Berlin"}, "Europe/Berlin"),
        (
            pl.Series([hour.strftime("%Y-%m-%d %H:%M") for hour in HOURS]),
            {"timezone": "Europe/Berlin"},
            "Europe/Berlin",
        ),
        (pl.Series([hour.astimezone(UTC).isoformat() for hour in HOURS]), {}, "UTC"),
        (LOCAL, {}, None),
    ],
    ids=["offset", "declared", "naive and declared", "utc", "naive"],
)
def test_texts_come_out_in_their_offset_or_the_declared_zone(
    publish: Publish, times: pl.Series, options: dict[str, object], zone: str | None
) -> None:
    made, _ = publish(times, **options)
    frame = pl.read_parquet(made.data)
    assert frame.schema["ds"] == pl.Datetime("us", zone)
    if zone is not None:
        expected = [datetime.fromisoformat(text) for text in NEXT]
        found = frame["ds"].dt.convert_time_zone("UTC").to_list()
        assert found == [moment.astimezone(UTC) for moment in expected]
    else:
        assert frame["ds"][0] == datetime(2024, 10, 27, 1)


def test_another_zone_of_equal_instants_is_another_batch(publish: Publish) -> None:
    first, one = publish(zoned("Europe/Berlin"), csv=False)
    second, two = publish(zoned("Asia/Tokyo"), csv=False)
    assert one.fingerprint == two.fingerprint
    assert first.folder != second.folder
    assert publish(zoned("Asia/Tokyo"), csv=False)[0].result == "already"


def test_the_truth_in_another_form_meets_the_forecasts(publish: Publish) -> None:
    publish(zoned("Europe/Berlin", LENGTH - HORIZON), csv=False)
    _, dataset = publish(pl.Series([hour.isoformat() for hour in HOURS]))
    forecasts = read_forecasts(known_at(published("meter"), None)[:1], dataset.output_zone is not None)
    joined = with_truth(forecasts, pl.read_parquet(dataset.data), [])
    assert joined["state"].to_list() == ["scored"] * HORIZON


def test_a_truth_without_a_zone_is_not_held_against_forecasts_with_one(publish: Publish) -> None:
    publish(zoned("Europe/Berlin"), csv=False)
    with pytest.raises(ConfigError, match=r"times in Europe/Berlin, the target has none; give --target\.timezone"):
        read_forecasts(published("meter"), False)


def test_a_look_back_without_an_offset_is_a_time_of_the_targets_zone(publish: Publish) -> None:
    publish(zoned("Europe/Berlin"), csv=False, as_of="2024-10-26T22:30")  # 20:30 in UTC
    found = published("meter")
    assert len(known_at(found, "2024-10-26T20:30Z", "Europe/Berlin")) == 1
    assert known_at(found, "2024-10-26T20:29Z", "Europe/Berlin") == ()


def test_a_request_with_a_zone_is_refused_with_what_to_send() -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-03-30", periods=3, tz="Europe/Berlin"), "y": 1.0})
    with pytest.raises(DataError, match=r"zone Europe/Berlin; .* wall clock \(ds\.dt\.tz_localize\(None\)\)"):
        asked_rows(frame)
