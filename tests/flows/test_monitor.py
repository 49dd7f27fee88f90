"""Months pass: forecasts by the champion, truth, a look; an alarm after the planted break, and one event of it."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from mlflow.tracking import MlflowClient
from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventNameFilter
from tiny_pipeline import POINTS, series

from flows.cli import run
from flows.forecast import forecast
from flows.monitor import monitor
from rnn_model.errors import ConfigError
from tasks.alarm import EVENT
from tasks.champion import promote
from tasks.config import MonitorConfig, TrackingConfig
from tasks.handles import Decision, Outcome
from tasks.promise import fetch_promise
from tasks.registry import register
from tasks.series_config import TargetConfig
from tasks.watch import Monitored

pytestmark = pytest.mark.usefixtures("one_home")
NAME = "watched"
YES = Decision(
    outcome="promote", sentence="better", metric="SQL", champion="SeasonalNaive", challenger="full", fingerprint="f"
)
LOOSE = MonitorConfig(level=0.4, least=1)  # two cutoffs promise little, and eight months are few
LAST, TODAY = 9, 11
BREAK = 2  # months of truth before it


def month(number: int) -> str:
    return datetime(2020 + number // 12, number % 12 + 1, 1).isoformat()


def later() -> pl.DataFrame:
    """The tiny series over again for twelve months more, thirty times as much in every other from the break on."""
    rows = series()
    number = pl.int_range(pl.len()).over("unique_id")
    more = rows.filter(number >= POINTS - 12).with_columns(ds=pl.col("ds").dt.offset_by("12mo"))
    odd = (pl.col("ds") >= datetime.fromisoformat(month(BREAK))) & (pl.col("ds").dt.month() % 2 == 1)
    broken = pl.when(odd).then(pl.col("y") * 30).otherwise("y").alias("y")
    return pl.concat([rows, more.with_columns(broken)]).sort("unique_id", "ds")


@pytest.fixture(scope="module")
def champion(outcome: Outcome, home: Path) -> str:
    """The tiny pipeline's model as champion of `watched`, whose file now holds a year more; the version's address."""
    later().write_parquet(home / f"{NAME}.parquet")
    version = register(NAME, str(outcome.model_uri), outcome.model, YES, "night", TrackingConfig())
    promote(version, None, YES, "night", TrackingConfig())
    return f"models:/{NAME}/{version.number}"


def target(home: Path, as_of: str | None = None) -> TargetConfig:
    return TargetConfig(path=str(home / f"{NAME}.parquet"), freq="MS", as_of=as_of)


@pytest.fixture(scope="module")
def looks(champion: str, home: Path) -> dict[int, Monitored]:
    """Month -> what a look back says of it, after its forecasts were published; two looks of today with all truth."""
    said = {}
    for number in range(LAST + 1):
        now = target(home, month(number))
        forecast(model="champion", target=now)
        if number in (BREAK - 1, LAST - 1, LAST):
            said[number] = monitor(target=now, monitor=LOOSE)
    return said | {day: monitor(target=target(home), monitor=LOOSE) for day in (TODAY, TODAY + 1)}


def test_before_the_break_all_is_as_promised(looks: dict[int, Monitored], champion: str) -> None:
    assert (looks[BREAK - 1].outcome, looks[BREAK - 1].alarms) == ("as promised", ())
    assert looks[BREAK - 1].model == champion
    assert looks[BREAK - 1].account["data sets not looked at"] == 0


def test_after_the_break_there_is_an_alarm_and_prefect_is_told_once(looks: dict[int, Monitored]) -> None:
    assert looks[LAST - 1].outcome == looks[LAST].outcome == "worse than promised"
    assert looks[LAST - 1].alarms[0] >= month(BREAK)
    assert looks[LAST].alarms == looks[LAST - 1].alarms
    assert [looks[number].told for number in (LAST - 1, LAST)] == ["looked back"] * 2
    assert [looks[number].told for number in (TODAY, TODAY + 1)] == ["now", "before"]
    with get_client(sync_client=True) as client:
        (event,) = client.read_events(EventFilter(event=EventNameFilter(name=[EVENT])), limit=50).events
    assert event.resource.id == f"carryover.target.{NAME}"
    assert event.payload["sentence"] == looks[TODAY].sentence


def test_the_run_holds_realised_beside_promised_and_the_rounds(looks: dict[int, Monitored], outcome: Outcome) -> None:
    client = MlflowClient(outcome.run.uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    newest = client.search_runs([experiment.experiment_id], "tags.`carryover.kind` = 'monitor'", max_results=1)[0]
    assert newest.data.metrics["realised/MASE"] == pytest.approx(looks[TODAY].realised["MASE"])
    assert newest.data.metrics["promised/MASE"] == pytest.approx(looks[TODAY].promised["MASE"])
    assert newest.data.metrics["monitor/e_value"] == pytest.approx(looks[TODAY].e_value)
    path = client.download_artifacts(newest.info.run_id, "monitor/rounds.json")
    assert len(json.loads(Path(path).read_text())["rounds"]) == looks[TODAY].rounds == LAST


def test_what_was_promised_is_what_the_backtest_said(
    champion: str, outcome: Outcome, looks: dict[int, Monitored]
) -> None:
    assert outcome.selection is not None
    assert outcome.evaluation is not None
    row = outcome.evaluation.table[outcome.selection.chosen]
    assert {name: looks[LAST].promised[name] for name in ("MASE", "SQL", "WQL", "coverage_80")} == pytest.approx(
        {name: row[name] for name in ("MASE", "SQL", "WQL", "coverage_80")}
    )


def test_a_series_that_ended_is_judged_by_what_was_forecast_before_its_end(
    looks: dict[int, Monitored], home: Path
) -> None:
    open_ = (pl.col("unique_id") != "noise") | (pl.col("ds") < datetime.fromisoformat(month(3)))
    later().filter(open_).write_parquet(home / "closed.parquet")
    closed = TargetConfig(path=str(home / "closed.parquet"), freq="MS", called=NAME)  # a run would leave it out
    account = monitor(target=closed, monitor=LOOSE).account
    assert "set aside" not in account
    assert account["scored"] + account["late"] == looks[TODAY].account["scored"]
    assert account["scored"] > looks[TODAY].account["scored"] * 2 / 3  # all of the two others, and some of this one


def test_without_a_server_the_command_says_what_to_run_and_ends_well(
    looks: dict[int, Monitored], home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.alarm.announced", lambda *_: False)
    monkeypatch.setattr("prefect.settings.PREFECT_API_URL.value", lambda: None)
    options = ["--target.path", str(home / f"{NAME}.parquet"), "--target.freq", "MS"]
    assert run(["monitor", *options, "--monitor.level", "0.4", "--monitor.least", "1"]) == 0
    said = capsys.readouterr().out
    assert "worse than promised" in said
    assert "No Prefect server is set, so nothing starts by itself: " in said
    assert "run --target.path" in said.splitlines()[-1]


def test_a_target_that_was_never_forecast_is_told_how_to_begin(
    tmp_path: Path, prefect_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    series().write_parquet(tmp_path / "fresh.parquet")
    assert run(["monitor", "--target.path", str(tmp_path / "fresh.parquet"), "--target.freq", "MS"]) == 0
    assert "carryover forecast --model champion begins it" in capsys.readouterr().out


def test_a_version_without_a_backtest_promises_nothing(champion: str) -> None:
    with pytest.raises(ConfigError, match=r"watched/99: the run that registered it keeps no backtest"):
        fetch_promise(f"models:/{NAME}/99", TrackingConfig())
