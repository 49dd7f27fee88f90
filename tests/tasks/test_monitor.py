"""The monitor says as promised while the law holds, and gives alarm after it broke, not before."""

from pathlib import Path

import polars as pl
import pytest
from diary import NAME, SERIES, backtest, day, log_batch, read_target, told, truth

from rnn_model.errors import ConfigError, ServiceError
from tasks import monitor
from tasks.arrivals import known_at
from tasks.config import MonitorConfig, TrackingConfig
from tasks.forecast_log import published
from tasks.handles import Run
from tasks.monitor import name_alarm, payload_of
from tasks.promise import Promise, expected, ratios
from tasks.series_config import TargetConfig
from tasks.watch import Monitored, Seen, assess, check_alike, look

NO_GROUPS = pl.DataFrame(schema={"unique_id": pl.String, "part": pl.String})
START, BREAK = 100, 108


@pytest.fixture(scope="module")
def promise(tmp_path_factory: pytest.TempPathFactory) -> Promise:
    folder = tmp_path_factory.mktemp("promise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_HOME", str(folder))
        return backtest(folder)


def see(rows: pl.DataFrame, root: Path, as_of: str | None = None) -> Seen:
    return look(known_at(published(NAME), as_of), *read_target(rows, root))


def judged(rows: pl.DataFrame, root: Path, promise: Promise | str, **settings: object) -> Monitored:
    return assess(NAME, see(rows, root), promise, NO_GROUPS, MonitorConfig.model_validate(settings))[0]


def forecast_daily(first: int, last: int, **fields: object) -> None:
    for cutoff in range(first, last + 1):
        log_batch(cutoff, **fields)


def test_forecasts_as_good_as_the_backtest_are_as_promised(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, 130)
    found = judged(truth(131), tmp_path, promise)
    assert found.outcome == "as promised"
    assert found.alarms == ()
    assert found.rounds == 30
    assert found.ratio == pytest.approx(1, abs=0.1)
    assert found.realised["coverage_80"] == pytest.approx(0.8, abs=0.05)
    assert found.realised["MASE"] == pytest.approx(found.promised["MASE"], rel=0.1)
    assert found.realised["bias"] == pytest.approx(0, abs=0.05)


def test_the_alarm_comes_after_the_break_and_never_before(tmp_path: Path, promise: Promise) -> None:
    """Three times the scatter from one day on; a look every day, each with what was there then."""
    outcomes = {}
    forecast_daily(START, 125)
    for today in range(START + 1, 126):
        rows = truth(today + 1, spread_from=BREAK)
        seen = see(rows, tmp_path, day(today).isoformat())
        outcomes[today] = assess(NAME, seen, promise, NO_GROUPS, MonitorConfig())[0]
    first = min(today for today, found in outcomes.items() if found.alarms)
    assert BREAK < first <= BREAK + 12
    before = {found.outcome for today, found in outcomes.items() if START + 5 <= today < first}
    assert before == {"as promised"}
    assert all(found.outcome == "worse than promised" for today, found in outcomes.items() if today >= first)
    assert outcomes[first].alarms[0].startswith(f"{day(first):%Y-%m-%d}")


def test_looking_again_gives_the_same_alarms(tmp_path: Path, promise: Promise) -> None:
    """What an alarm is known by does not change when days are added behind it: that is how it is told of once."""
    forecast_daily(START, 125)
    early, late = (judged(truth(n, spread_from=BREAK), tmp_path, promise) for n in (121, 126))
    assert late.alarms[: len(early.alarms)] == early.alarms
    batch = published(NAME)[-1]
    assert name_alarm(batch, early) == f"sales 1 wwwwwwwwwwww {early.alarms[-1]}"


def test_an_alarm_that_late_truth_takes_away_gives_no_other_its_name() -> None:
    log_batch(START)
    alarms = ("2024-04-18 00:00", "2024-05-02 00:00")
    both, second, first = (
        Monitored(target=NAME, outcome="worse than promised", sentence="", threshold=40, alarms=times)
        for times in (alarms, alarms[1:], alarms[:1])
    )
    names = [name_alarm(published(NAME)[0], found) for found in (both, second, first)]
    assert names[0] == names[1] != names[2]


def test_a_base_forecast_in_between_silences_nothing(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, 125)
    before = judged(truth(126, spread_from=BREAK), tmp_path, promise)
    log_batch(125, version=None)
    after = judged(truth(126, spread_from=BREAK), tmp_path, promise)
    assert before.alarms == after.alarms != ()
    assert (after.model, after.outcome) == ("models:/sales/1", "worse than promised")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, promise: Promise) -> list[str]:
    """What the task does, in order, after it has judged; telling fails."""
    done: list[str] = []
    for name in ("log", "show"):
        monkeypatch.setattr(monitor, name, lambda *_, name=name: done.append(name))
    monkeypatch.setattr(monitor, "promise_of", lambda *_: promise)
    monkeypatch.setattr(monitor, "tell", lambda *_: done.append("tell") or fail())
    return done


def fail() -> None:
    raise ServiceError("event did not arrive")


def watch(root: Path, as_of: str | None) -> Monitored:
    target = TargetConfig(path=str(root / f"{NAME}.parquet"), freq="D", as_of=as_of)
    raw, seen = read_target(truth(126, spread_from=BREAK), root)
    run = Run(uri="sqlite://", experiment_id="1", run_id="r", name="monitor")
    return monitor.monitor_forecasts(raw, seen, target, MonitorConfig(), TrackingConfig(), run)


def test_figures_are_logged_and_shown_before_an_event_that_fails(tmp_path: Path, steps: list[str]) -> None:
    forecast_daily(START, 125)
    with pytest.raises(ServiceError, match="did not arrive"):
        watch(tmp_path, None)
    assert steps == ["log", "show", "tell"]


def test_a_look_back_shows_its_alarm_and_tells_nobody(tmp_path: Path, steps: list[str]) -> None:
    forecast_daily(START, 125)
    found = watch(tmp_path, day(125).isoformat())
    assert (found.outcome, found.told) == ("worse than promised", "looked back")
    assert steps == ["log", "show"]


def test_a_new_version_begins_with_nothing(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, 125)
    forecast_daily(126, 128, version=2)
    found = judged(truth(129, spread_from=BREAK), tmp_path, promise)
    assert (found.outcome, found.rounds, found.model) == ("not enough forecasts yet", 2, "models:/sales/2")
    assert {row["maker"] for row in found.makers} == {"models:/sales/1 wwwwwwww", "models:/sales/2 wwwwwwww"}


def test_a_series_gone_wild_counts_four_times_at_most_in_the_test(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, 130)
    wild = pl.when((pl.col("unique_id") == "s00") & (pl.col("ds") > day(START))).then(1e6).otherwise("y").alias("y")
    usual, odd = (judged(rows, tmp_path, promise) for rows in (truth(131), truth(131).with_columns(wild)))
    costs = expected(promise.scored, promise, "SQL").filter(pl.col("step") == 1)
    costs = costs.select("unique_id", cost=pl.col("weight") * pl.col("promised")).unique()
    share = costs.filter(pl.col("unique_id") == "s00")["cost"].sum() / costs["cost"].sum()
    assert usual.ratio is not None
    assert odd.ratio == pytest.approx(usual.ratio + 3 * share, abs=0.05)
    assert odd.realised["MASE"] > 1000  # and is not hidden


def test_a_series_whose_scale_is_next_to_nothing_drowns_no_other(promise: Promise) -> None:
    """Its losses are 1e12 times as high in the backtest; twice the loss of all others is seen all the same."""
    tiny = pl.when(pl.col("unique_id") == "s00").then(1e12).otherwise(1.0)
    other = Promise(promise.scored.with_columns(pl.col("SQL") * tiny), promise.groups)
    twice = other.scored.with_columns(pl.col("SQL") * pl.when(pl.col("unique_id") == "s00").then(1.0).otherwise(2.0))
    before, now = (ratios(expected(scored, other, "SQL"), "date")["ratio"].mean() for scored in (other.scored, twice))
    assert now == pytest.approx((2 * (SERIES - 1) + 1) / SERIES * before, rel=0.1)


def test_a_step_is_held_against_what_it_was_promised_to_cost(promise: Promise) -> None:
    """Backtest losses of the third step made five times as high: a forecast that far is then expected to be so."""
    far = pl.when(pl.col("step") == 3).then(5 * pl.col("SQL")).otherwise("SQL").alias("SQL")
    other = Promise(promise.scored.with_columns(far), promise.groups)
    told_now = expected(other.scored, other, "SQL")
    by_step = ratios(told_now, "step")
    assert by_step["ratio"].to_list() == pytest.approx([1, 1, 1], abs=0.03)
    assert expected(promise.scored.with_columns(step=pl.lit(9)), promise, "SQL").is_empty()  # never promised


def test_a_backtest_of_one_cutoff_promises_nothing_that_can_be_tested(tmp_path: Path) -> None:
    forecast_daily(START, 120)
    found = judged(truth(121, spread_from=BREAK), tmp_path, backtest(tmp_path, cutoffs=1))
    assert found.outcome == "not enough forecasts yet"
    assert "one cutoff" in found.sentence
    assert found.alarms == ()


def test_without_a_promise_the_figures_are_still_there(tmp_path: Path) -> None:
    forecast_daily(START, 120, version=None)
    found = judged(truth(121), tmp_path, "it is no version of a registered model")
    assert found.outcome == "nothing was promised"
    assert found.sentence == "base: nothing was promised: it is no version of a registered model."
    assert found.promised == {}
    assert list(found.figures) == ["realised"]
    assert found.realised["coverage_80"] == pytest.approx(0.8, abs=0.05)
    assert [row["part"] for row in found.table] == ["all", "step=1", "step=2", "step=3"]


def test_before_any_truth_there_are_no_figures_and_a_sentence_says_so(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, START)
    found = judged(truth(START + 1), tmp_path, promise)
    assert (found.outcome, found.figures) == ("not enough forecasts yet", {})
    assert found.heading == "There are no figures of models:/sales/1 yet: no value has come that it forecast."
    assert found.heading in monitor.markdown(found)
    assert "realised" not in monitor.markdown(found)


def test_realised_and_promised_stand_side_by_side_for_every_step_and_segment(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, 110)
    found = judged(truth(111), tmp_path, promise)
    parts = [row["part"] for row in found.table]
    assert parts[:4] == ["all", "step=1", "step=2", "step=3"]
    assert {part for part in parts if part.startswith("volume=")} == {"volume=low", "volume=middle", "volume=high"}
    assert all(row["WQL"] > 0 and row["WQL promised"] > 0 for row in found.table)


def test_the_account_adds_up_to_the_forecasts(tmp_path: Path, promise: Promise) -> None:
    forecast_daily(START, 110)
    log_batch(110)
    rows = truth(112).filter(pl.col("unique_id") != "s01")
    account = judged(rows, tmp_path, promise).account
    ends = ("scored", "waiting", "late", "missing", "set aside", "vanished", "repeated")
    assert account["forecasts"] == sum(account.get(end, 0) for end in ends) == 12 * 3 * SERIES
    assert (account["repeated"], account["vanished series"], account["batches"]) == (3 * SERIES, 1, 12)


def test_the_account_in_words_tells_one_from_many() -> None:
    account = {"forecasts": 1, "waiting": 0, "corrected values": 2, "batches": 1, "data sets not looked at": 1}
    found = Monitored(target=NAME, outcome="as promised", sentence="", threshold=40, account=account)
    assert found.counts == "1 forecast; 2 corrected values; 1 batch; 1 data set not looked at"


def test_a_target_read_with_another_season_is_refused(tmp_path: Path) -> None:
    batch = log_batch(START)
    raw, _ = read_target(truth(102), tmp_path, season=14)
    with pytest.raises(ConfigError, match=r"season 7.*target has D, 14.*--target\.freq"):
        check_alike(batch, raw)


def test_the_event_says_what_happened_and_no_more(tmp_path: Path, promise: Promise) -> None:
    log_batch(START, told(START))
    payload = payload_of(judged(truth(105), tmp_path, promise))
    assert set(payload) == {
        "target", "model", "outcome", "sentence", "ratio", "bound", "e_value", "threshold", "rounds", "alarms",
    }  # fmt: skip
