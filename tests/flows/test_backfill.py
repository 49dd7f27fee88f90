"""Day after day: each as it would have been run then, none twice, and what comes later is nowhere in it."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel

from flows.backfill import backfill
from flows.cli import run
from flows.commands import COMMANDS
from flows.forecast import forecast
from rnn_model.artefact import sha256_file
from tasks.backfill import Backfill
from tasks.config import BacktestConfig, FinetuneConfig, HorizonConfig, TrackingConfig, WindowConfig
from tasks.handles import Outcome
from tasks.series_config import TargetConfig

NO_SERIES = {  # commands without series of their own
    "doctor": "looks at an installation, reads no data",
    "sync": "sends what was kept of runs",
    "down": "ends servers",
    "leaderboard": "a benchmark: the last rows of each set are its test by definition",
    "replay": "as of when the run was that is replayed",
    "rollback": "changes the champion, reads no data",
    "services": "starts servers",
}
DAYS = 60  # from 1 January to 29 February 2024


def daily(path: Path, more: int = 0) -> Path:
    """Three daily series over DAYS, and `more` days of another world."""
    rng, time = np.random.default_rng(3), np.arange(DAYS)
    ds = [datetime(2024, 1, 1) + timedelta(days=n) for n in range(DAYS + more)]
    known = [5 + np.sin(time * 2 * np.pi / 7) + rng.normal(0, 0.1, DAYS) for _ in range(3)]
    frames = [
        pl.DataFrame({"unique_id": f"s{n}", "ds": ds, "y": np.concatenate([own, np.full(more, 1e6)])})
        for n, own in enumerate(known)
    ]
    pl.concat(frames).write_parquet(path)
    return path


def filled(path: Path, first: str, last: str, **options: Any) -> Backfill:
    usual: dict[str, Any] = {
        "window": WindowConfig(horizon=4),
        "finetune": FinetuneConfig(strategies=("zero-shot", "biases"), steps=2, batch_size=8, validate_every=2),
        "backtest": BacktestConfig(cutoffs=1, baselines=("SeasonalNaive",)),
    }
    return backfill(first, last, target=TargetConfig(path=str(path), freq="D"), **(usual | options))


def kept(done: Backfill, home: Path) -> list[Outcome]:
    """The stored outcome of every day."""
    found = [Outcome.model_validate(json.loads(p.read_text())) for p in home.glob("outcomes/*/outcome.json")]
    by_run = {outcome.run.run_id: outcome for outcome in found}
    return [by_run[str(day.run)] for day in done.days]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return daily(tmp_path_factory.mktemp("data") / "daily.parquet")


@pytest.fixture(scope="module")
def two_days(home: Path, series: Path) -> Backfill:
    return filled(series, "2024-02-24", "2024-02-25")


@pytest.mark.usefixtures("one_home")
def test_every_day_is_a_run_of_its_own_as_of_then(two_days: Backfill, one_home: Path) -> None:
    assert [(day.as_of, day.repeated) for day in two_days.days] == [("2024-02-24", False), ("2024-02-25", False)]
    outcomes = kept(two_days, one_home)
    assert [(outcome.account.rows_in, outcome.account.later) for outcome in outcomes] == [(165, 15), (168, 12)]
    assert [day.decision for day in two_days.days] == [o.decision.outcome for o in outcomes if o.decision]


@pytest.mark.usefixtures("one_home")
def test_the_range_goes_on_where_it_stopped(two_days: Backfill, series: Path) -> None:
    longer = filled(series, "2024-02-24", "2024-02-26")
    assert [day.repeated for day in longer.days] == [True, True, False]
    assert [day.run for day in longer.days[:2]] == [day.run for day in two_days.days]


@pytest.mark.usefixtures("one_home")
def test_what_comes_later_moves_no_bit_of_an_earlier_day(
    two_days: Backfill, series: Path, one_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(two_days, one_home)[1]
    grown, elsewhere = daily(tmp_path / "daily.parquet", more=30), tmp_path / "elsewhere"
    store = TrackingConfig(uri=f"sqlite:///{one_home / 'mlflow.db'}")
    monkeypatch.setenv("CARRYOVER_HOME", str(elsewhere))  # nothing that was made before is at hand
    after = kept(filled(grown, "2024-02-25", "2024-02-25", tracking=store), elsewhere)[0]
    assert after.account.later == before.account.later + 3 * 30
    assert after.data == before.data
    assert before.selection is not None
    assert after.selection is not None
    assert [c.model.weights for c in after.selection.contenders] == [
        c.model.weights for c in before.selection.contenders
    ]
    written = [
        forecast_as_of(before, series, tmp_path / "a.parquet"),
        forecast_as_of(after, grown, tmp_path / "b.parquet"),
    ]
    assert written[0] == written[1]


def forecast_as_of(outcome: Outcome, path: Path, output: Path) -> str:
    target = TargetConfig(path=str(path), freq="D", as_of="2024-02-25")
    forecast(str(outcome.model.folder), target, HorizonConfig(horizon=4), output=output, force=True)
    return sha256_file(output)


@pytest.mark.parametrize(("policy", "tried"), [("stop", 1), ("continue", 2)])
def test_a_day_that_fails_stands_in_the_table_with_its_code(
    policy: str, tried: int, series: Path, one_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.json"
    options = ["--from", "2023-12-30", "--to", "2023-12-31", "--on-error", policy, "--summary", str(summary)]
    assert run(["backfill", *options, "--target.path", str(series), "--target.freq", "D"]) == 65
    assert capsys.readouterr().err.count("no rows up to as_of 2023-12-3") == tried
    found = json.loads(summary.read_text())
    assert [day["code"] for day in found["days"]] == [65] * tried
    assert len(found["left"]) == 2 - tried


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(NO_SERIES)))
def test_every_command_with_series_takes_as_of(name: str) -> None:
    hints = get_type_hints(COMMANDS[name].fn)
    sections = [hints[part] for part in ("source", "target") if part in hints]
    assert sections
    for section in sections:
        assert issubclass(section, BaseModel)
        assert "as_of" in section.model_fields
