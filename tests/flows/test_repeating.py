"""What has finished is not done twice: found by data, settings and code, and said so."""

import logging
import time
from pathlib import Path

import polars as pl
import pytest
from mlflow.tracking import MlflowClient
from tiny_pipeline import BACKTEST, FINETUNE, MODEL, WINDOW, carry, series

from flows.cli import run
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.intake import done_before, take_in
from flows.pipeline import pipeline
from rnn_model.artefact import held
from rnn_model.errors import BusyError, ConfigError, DataError
from tasks.config import FinetuneConfig, GateConfig, PretrainConfig, TrackingConfig
from tasks.finished import Work, keep_outcome
from tasks.handles import Outcome
from tasks.ids import Part, spell
from tasks.series_config import SourceConfig, TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")


def runs_of(outcome: Outcome) -> set[str]:
    found = MlflowClient(outcome.run.uri).search_runs([outcome.run.experiment_id], max_results=1000)
    return {each.info.run_id for each in found}


def folder_of(outcome: Outcome, data: Path) -> Path:
    (found,) = [p.parent for p in data.glob("outcomes/*/outcome.json") if outcome.run.run_id in p.read_text()]
    return found


@pytest.fixture
def worker_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What flow runs log, which is all that a worker shows."""
    caplog.set_level(logging.INFO, "prefect.flow_runs")
    monkeypatch.setattr(logging.getLogger("prefect.flow_runs"), "handlers", [caplog.handler])
    return caplog


def test_a_finished_run_is_found_and_opens_no_other(
    outcome: Outcome, target: Path, worker_log: pytest.LogCaptureFixture
) -> None:
    before = runs_of(outcome)
    again = carry(target)
    assert (again.repeated, outcome.repeated) == (True, False)
    assert again == outcome.model_copy(update={"repeated": True})
    assert outcome.decision is not None
    assert f"The gate: {outcome.decision.sentence}" in worker_log.messages
    assert runs_of(outcome) == before


def test_the_same_rows_in_another_order_are_the_same_run(outcome: Outcome, target: Path) -> None:
    rows = pl.read_parquet(target)
    try:
        rows.reverse().write_parquet(target)
        assert carry(target).run == outcome.run
    finally:
        rows.write_parquet(target)


@pytest.mark.parametrize("other", [{"seed": 4}, {"window": WINDOW.model_copy(update={"validation": 4})}])
def test_another_setting_is_another_run(outcome: Outcome, target: Path, other: dict[str, object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.pipeline.tracked", refuse)
        with pytest.raises(Opened):
            carry(target, **other)


@pytest.mark.usefixtures("outcome")
def test_other_data_are_another_run(target: Path) -> None:
    rows = pl.read_parquet(target)
    try:
        rows.with_columns(pl.col("y") + 1).write_parquet(target)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flows.pipeline.tracked", refuse)
            with pytest.raises(Opened):
                carry(target)
    finally:
        rows.write_parquet(target)


def key_of(target: Path, source: SourceConfig, start: str = "nothing") -> str:
    sections = {"target": TargetConfig(path=str(target), freq="MS"), "source": source, "gate": GateConfig()}
    sections |= {"pretrain": PretrainConfig(from_=start), "finetune": FinetuneConfig(), "tracking": TrackingConfig()}
    return take_in("run", sections | {"model": MODEL}).work.key


def test_other_rows_of_a_source_are_another_run_and_rows_after_as_of_are_not(target: Path, tmp_path: Path) -> None:
    path, then = tmp_path / "others.parquet", {"as_of": "2019-01-01"}
    keys: dict[str, tuple[str, str]] = {}
    rows = series().with_columns(pl.col("unique_id") + " elsewhere")
    late = pl.col("ds") > pl.datetime(2019, 1, 1)
    for case, frame in {
        "first": rows,
        "later": rows.with_columns(pl.when(late).then(0.0).otherwise("y").alias("y")),
        "other": rows.with_columns(pl.col("y") + 1),
    }.items():
        frame.write_parquet(path)
        now, earlier = (SourceConfig(path=str(path), freq="MS", **fields) for fields in ({}, then))
        keys[case] = (key_of(target, now), key_of(target, earlier))
    assert keys["later"][0] != keys["first"][0]
    assert keys["later"][1] == keys["first"][1]
    assert len({key for both in keys.values() for key in both}) == 5


def test_other_rows_of_a_query_are_another_run(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, keys = SourceConfig(query="SELECT * FROM others", connection="OTHERS", freq="MS"), []
    for more in (0, 0, 1):
        rows = series().with_columns(pl.col("y") + more)
        monkeypatch.setattr("tasks.ingest.read_query", lambda _, rows=rows: Part(rows, spell(rows["unique_id"])))
        keys.append(key_of(target, asked))
    assert keys[0] == keys[1] != keys[2]


def test_a_source_that_a_run_has_no_use_for_is_not_read(
    outcome: Outcome, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ingest.read_query", refuse)
    asked = SourceConfig(query="SELECT * FROM others", connection="OTHERS", freq="MS")
    assert key_of(target, asked, start=str(outcome.model.folder))


def test_force_makes_a_new_run_of_equal_figures(
    outcome: Outcome, target: Path, one_home: Path, worker_log: pytest.LogCaptureFixture
) -> None:
    anew = carry(target, force=True)
    assert anew.decision is not None
    assert f"The gate: {anew.decision.sentence}" in worker_log.messages
    assert not anew.repeated
    assert anew.run != outcome.run
    assert anew.evaluation is not None
    assert outcome.evaluation is not None
    for name, row in outcome.evaluation.table.items():
        assert anew.evaluation.table[name] == pytest.approx(row, rel=1e-12)
    assert carry(target).run == anew.run  # the newer one is the one that is found
    keep_outcome(Work(key="", folder=folder_of(anew, one_home)), outcome)  # the session's, for tests that come later


def test_what_lost_a_folder_or_its_run_is_done_again(outcome: Outcome, target: Path, one_home: Path) -> None:
    assert outcome.evaluation is not None
    forecasts = outcome.evaluation.folder / "forecasts.parquet"
    kept = forecasts.read_bytes()
    client = MlflowClient(outcome.run.uri)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.pipeline.tracked", refuse)
        forecasts.write_bytes(kept[:-1])
        try:
            with pytest.raises(Opened):
                carry(target)
        finally:
            forecasts.write_bytes(kept)
        client.delete_run(outcome.run.run_id)
        try:
            with pytest.raises(Opened):
                carry(target)
        finally:
            client.restore_run(outcome.run.run_id)
        assert carry(target).run == outcome.run


def test_a_second_start_is_told_who_is_at_it(outcome: Outcome, target: Path, one_home: Path) -> None:
    with held(folder_of(outcome, one_home)), pytest.raises(BusyError, match=r"process [0-9]+ on .* is making it"):
        carry(target)


def test_a_wrong_path_or_model_leaves_no_run_behind(outcome: Outcome, tmp_path: Path, target: Path) -> None:
    client, kept = MlflowClient(outcome.run.uri), TargetConfig(path=str(target), freq="MS")
    before = [e.name for e in client.search_experiments()], runs_of(outcome)
    with pytest.raises(DataError, match="no such file"):
        pipeline(target=TargetConfig(path=str(tmp_path / "typo.csv"), freq="MS"))
    with pytest.raises(ConfigError, match="is not known"):
        evaluate("nobody", kept)
    assert before == ([e.name for e in client.search_experiments()], runs_of(outcome))


def test_evaluate_and_finetune_are_found_as_well(outcome: Outcome, target: Path) -> None:
    series, model = TargetConfig(path=str(target), freq="MS"), str(outcome.model.folder)
    few = FINETUNE.model_copy(update={"strategies": ("zero-shot",)})
    one = BACKTEST.model_copy(update={"baselines": ("SeasonalNaive",)})
    scored = [evaluate(model, series, WINDOW, one) for _ in range(2)]
    tuned = [finetune(model, series, WINDOW, few, BACKTEST) for _ in range(2)]
    for first, second in (scored, tuned):
        assert (first.repeated, second.repeated, first.run) == (False, True, second.run)
    assert scored[0].run != tuned[0].run


def test_the_command_says_so_without_a_server(
    outcome: Outcome, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--target.path", str(target), "--target.freq", "MS", "--window.horizon", "4"]
    options += ["--backtest.cutoffs", "1", "--backtest.baselines", '["SeasonalNaive"]']
    assert run(["evaluate", "--model", str(outcome.model.folder), *options]) == 0
    first = capsys.readouterr().out
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.flows.Flow.__call__", refuse)
        assert run(["evaluate", "--model", str(outcome.model.folder), *options]) == 0
    assert time.monotonic() - began < 5
    again = capsys.readouterr().out
    assert again.startswith("nothing to do: run ")
    assert "finished with the same data, settings and code on 20" in again
    assert again.partition("\n")[2] == first


@pytest.mark.usefixtures("outcome")
def test_nothing_is_read_where_no_such_settings_have_finished(tmp_path: Path) -> None:
    parameters = {"model": "base", "target": TargetConfig(path=str(tmp_path / "gone.csv"), freq="MS")}
    assert done_before("evaluate", parameters | {"tracking": TrackingConfig()}) is None
    assert done_before("forecast", parameters) is None


class Opened(Exception):
    """A run was about to be opened."""


def refuse(*_: object, **__: object) -> None:
    raise Opened
