"""Every series answered by its path, in files that say so."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from batch_maker import CONTEXT, GOOD, HORIZON, INFINITY, WAVE, Make, card, rows

from rnn_model.artefact import open_checked, sha256_file
from rnn_model.checkpoint import load_model, save_model
from rnn_model.config import DECILES
from rnn_model.errors import ConfigError, DataError
from rnn_model.network import build_network
from tasks.config import ForecastConfig, StepsConfig, TrackingConfig
from tasks.ended import ENDED
from tasks.forecast import check_known_then, copy_forecast, forecast_dataset, pin
from tasks.forecast_log import published
from tasks.forecaster import COLUMNS, forecast_frame
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import TargetConfig

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
    assert pl.read_parquet(late.data).equals(pl.read_parquet(early.data))
    assert not pl.read_parquet(make(longer).data).equals(pl.read_parquet(early.data))


def test_what_is_said_of_a_time_is_a_batch_of_its_own(make: Make) -> None:
    made = [make(GOOD, as_of=as_of).result for as_of in (None, "2024-02-11", "2024-02-12", "2024-02-11")]
    assert made == ["published", "published", "published", "already"]
    assert [batch.as_of for batch in published("sales")] == [None, "2024-02-11", "2024-02-12"]


@pytest.mark.parametrize("as_of", ["2024-01-09", "2024-01-09T23:59:59"])
def test_a_model_that_has_seen_what_came_after_as_of_is_refused(make: Make, as_of: str) -> None:
    words = r"has seen series 'a' up to 2024-01-10, after as_of 2024-01-09.*models:/sales/N\) or --model base"
    with pytest.raises(ConfigError, match=words):
        make(GOOD, as_of=as_of)
    assert published("sales") == ()
    assert make({"b": [*WAVE]}, as_of=as_of).paths == {"new": 1}  # of this series it has seen nothing
    assert make(GOOD, as_of="2024-01-10").result == "published"


def test_a_time_with_an_offset_is_compared_in_utc_with_the_cards_own_form(stored: Callable[..., Dataset]) -> None:
    seen, dataset = card(seen={"a": "2024-01-09 23:00:00.000000"}), stored(a=[1.0]).model_copy(update={"freq": "h"})
    target = TargetConfig(path="sales.parquet", freq="h", as_of="2024-01-10T01:00+02:00")  # 23:00 in UTC
    check_known_then(seen, dataset, target)
    with pytest.raises(ConfigError, match=r"up to 2024-01-09 23:00:00\.000000, after as_of 2024-01-10T00:59\+02:00"):
        check_known_then(seen, dataset, target.model_copy(update={"as_of": "2024-01-10T00:59+02:00"}))


@pytest.mark.parametrize("as_of", ["2024-01-09T23:30-05:00", "2024-01-10T04:30Z"])
def test_for_days_an_offset_is_compared_on_their_wall_clock(stored: Callable[..., Dataset], as_of: str) -> None:
    dataset = stored(a=[1.0]).model_copy(update={"timezone": "America/New_York"})
    target = TargetConfig(path="sales.parquet", freq="D", as_of=as_of)
    check_known_then(card(seen={"a": "2024-01-09 00:00:00.000000"}), dataset, target)
    with pytest.raises(ConfigError, match="up to 2024-01-10"):
        check_known_then(card(seen={"a": "2024-01-10 00:00:00.000000"}), dataset, target)


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
        "spoilt": "naive: infinite value, at 2024-01-10 00:00, 42 values in 42 rows",
        "empty": "none: no value at all, at 2024-01-01 00:00, 0 values in 9 rows",
        "silent": f"none: no value in the last {CONTEXT} steps, at 2024-01-25 00:00, 9 values in 25 rows",
    }
    assert made.paths == {"model": 1, "naive": 1, "new": 1, "short": 1, "none": 2}
    assert set(paths) | set(pl.read_parquet(made.folder / "left_out.parquet")["unique_id"]) == set(odd)


def test_without_a_fallback_faulty_series_are_left_out(make: Make) -> None:
    made = make({"a": [*WAVE], "spoilt": [*WAVE[:9], INFINITY, *WAVE[10:]]}, ForecastConfig(fallback="none"))
    assert made.left_out == {"spoilt": "none: infinite value, at 2024-01-10 00:00, 42 values in 42 rows"}
    assert made.paths == {"model": 1, "none": 1}


def test_a_model_that_was_tuned_on_nothing_knows_every_series_alike(make: Make, tmp_path: Path) -> None:
    own = card()
    plain = save_model(build_network(own.model, HORIZON, seed=1), own, tmp_path / "plain")
    assert make({"z": [*WAVE]}, pinned=pin(str(plain), "sales", TrackingConfig())).paths == {"model": 1}


def test_how_many_values_are_short_can_be_declared(make: Make) -> None:
    assert make({"a": [*WAVE]}, ForecastConfig(short=43)).paths == {"short": 1}
    assert make({"a": [*WAVE]}, ForecastConfig(short=42)).paths == {"model": 1}


def test_more_series_left_out_than_allowed_stop_the_run_with_share_rule_and_place(make: Make) -> None:
    words = (
        r"sales: 1 of 4 series cannot be forecast \(allowed: 20%, and one must be left\): infinite value \(1\); "
        r"e\.g\. series 'bad' at 2024-02-12 00:00, 43 values in 43 rows, freq D; mend the data, or raise "
        r"--target\.max_quarantined$"
    )
    with pytest.raises(DataError, match=words):
        make(GOOD | {"bad": [*WAVE, INFINITY]}, ForecastConfig(fallback="none"), max_quarantined=0.2)
    assert published("sales") == ()


# ---- the fallback


def test_the_fallback_answers_where_every_series_is_faulty(make: Make) -> None:
    made = make({"a": [*WAVE[:-1], INFINITY], "b": [*WAVE, -INFINITY]}, max_quarantined=0)
    frame = pl.read_parquet(made.data)
    assert made.paths == {"naive": 2}
    assert frame.filter(unique_id="b")["y_hat"].to_list() == [8.0, 6.0, 1.0, 7.0]  # the season, from its second day on
    assert made.notes[0].startswith(
        "faulty values in 2 series (infinite value), e.g. series 'a' at 2024-02-11 00:00, 42 values in 42 rows; not "
        "the network but the last season"
    )


@pytest.mark.parametrize("fallback", ["none", "naive"])
def test_with_no_answer_for_any_series_the_reasons_are_told(make: Make, fallback: str) -> None:
    spoilt = {"a": [INFINITY, INFINITY, 3.0], "b": [None, None]}
    with pytest.raises(DataError, match=r"2 of 2 series cannot be forecast .*infinite value.*series 'a' at 2024-01-01"):
        make(spoilt, ForecastConfig.model_validate({"fallback": fallback}), max_quarantined=1)
    assert published("sales") == ()


# ---- what is told of the data


def test_ended_series_are_left_out_and_told_each_time_and_are_no_fault(make: Make) -> None:
    closed = {"a": [*WAVE], "b": [*WAVE], "shut": [*WAVE[:13]]}  # 29 days before the others
    for result in ("published", "already"):
        made = make(closed, max_quarantined=0)
        assert made.result == result
        assert made.left_out == {"shut": f"none: {ENDED}, at 2024-01-13 00:00, 13 values in 13 rows"}
        assert made.notes[0].startswith("1 of 3 series ended more than 28 steps before the latest value ('a'")
    kept = make(closed, ended="keep")
    assert kept.paths == {"model": 1, "new": 2}
    assert "--target.ended drop leaves them out" in kept.notes[0]


def test_a_forecast_for_a_time_that_is_past_is_told(make: Make) -> None:
    made = make({"a": [*WAVE], "late": [*WAVE[:-HORIZON]], "later": [*WAVE[: 1 - HORIZON]]})
    assert made.notes == (
        "1 of 3 series forecast for a time that is past: not one of 4 steps lies after the latest cutoff (2024-02-11), "
        "e.g. 'late' from cutoff 2024-02-07",
    )


def test_equal_rows_are_told(make: Make, target: TargetConfig, model: Path, tmp_path: Path) -> None:
    assert make({"a": [*WAVE]}).notes == ()
    once = rows(a=[*WAVE])
    pl.concat([once, once.tail(2)]).write_parquet(tmp_path / "sales.parquet")
    dataset = ingest_files(target, "sales", tmp_path / "raw")
    pinned = pin(str(model), "sales", TrackingConfig())
    made = forecast_dataset(dataset, target, pinned, StepsConfig(), ForecastConfig(), force=False)
    assert made.notes == ("2 rows left out as equal duplicate: each stands there once more",)


# ---- the horizon


def test_the_horizon_is_the_models_own_unless_another_is_asked_for(make: Make) -> None:
    assert make(GOOD).horizon == HORIZON
    assert make(GOOD, horizon=2).rows == 2 * 3


def test_a_horizon_past_what_the_model_answers_is_refused_with_its_limit(make: Make) -> None:
    with pytest.raises(ConfigError, match="horizon 7: this model answers 1 to 6 steps"):
        make(GOOD, horizon=7)


# ---- copies


def test_a_copy_is_what_was_published(make: Make, tmp_path: Path) -> None:
    made = make(GOOD)
    copied = copy_forecast(made, tmp_path / "out" / "next.parquet")
    assert copied.output is not None
    assert pl.read_parquet(copied.output).equals(pl.read_parquet(made.data))


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\uff1dSUM(1)"])
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
