"""Bounds and refusals of the sections, each naming its field."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rnn_model.config import Section, SyntheticConfig
from rnn_model.errors import ConfigError
from tasks.checks import check_output, check_source, check_start, check_windows
from tasks.config import (
    BASE,
    NOTHING,
    BacktestConfig,
    FinetuneConfig,
    HorizonConfig,
    PretrainConfig,
    TrackingConfig,
    WindowConfig,
    home,
)
from tasks.series_config import SAMPLE, SeriesConfig, SourceConfig, TargetConfig


def refused(section: type[Section], **values: object) -> tuple[tuple[int | str, ...], str]:
    """Where and why pydantic refuses the first of the values."""
    with pytest.raises(ValidationError) as raised:
        section.model_validate(values)
    first = raised.value.errors()[0]
    return first["loc"], first["msg"]


@pytest.mark.parametrize(
    ("section", "values", "field"),
    [
        (SeriesConfig, {"max_quarantined": 1.01}, "max_quarantined"),
        (SeriesConfig, {"max_quarantined": -0.01}, "max_quarantined"),
        (SeriesConfig, {"season": 0}, "season"),
        (SeriesConfig, {"season": 10_001}, "season"),
        (HorizonConfig, {"horizon": 0}, "horizon"),
        (HorizonConfig, {"horizon": 513}, "horizon"),
        (WindowConfig, {"min_history": 0}, "min_history"),
        (WindowConfig, {"validation": 0}, "validation"),
        (PretrainConfig, {"learning_rate": 0}, "learning_rate"),
        (PretrainConfig, {"steps": 0}, "steps"),
        (FinetuneConfig, {"batch_size": 0}, "batch_size"),
        (FinetuneConfig, {"patience": 0}, "patience"),
        (BacktestConfig, {"cutoffs": 0}, "cutoffs"),
        (BacktestConfig, {"step": 0}, "step"),
        (BacktestConfig, {"baseline_history": 9}, "baseline_history"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(section: type[Section], values: dict[str, float], field: str) -> None:
    assert refused(section, **values)[0] == (field,)


@pytest.mark.parametrize(
    ("section", "values", "loc"),
    [
        (WindowConfig, {"horizon": "eight"}, ("horizon",)),
        (WindowConfig, {"horizon": 2.5}, ("horizon",)),
        (SeriesConfig, {"gaps": "interpolate"}, ("gaps",)),
        (SeriesConfig, {"columns": {"id": 3}}, ("columns", "id")),
        (FinetuneConfig, {"strategies": ["full", "magic"]}, ("strategies", 1)),
        (BacktestConfig, {"baselines": ["ARIMA"]}, ("baselines", 0)),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(
    section: type[Section], values: dict[str, object], loc: tuple[str | int, ...]
) -> None:
    assert refused(section, **values)[0] == loc


@pytest.mark.parametrize(
    "section",
    [SourceConfig, TargetConfig, WindowConfig, PretrainConfig, FinetuneConfig, BacktestConfig, TrackingConfig],
)
def test_an_unknown_key_is_refused_by_name(section: type[Section]) -> None:
    assert refused(section, horizn=3) == (("horizn",), "Extra inputs are not permitted")


def test_an_unknown_key_inside_columns_is_refused_by_name() -> None:
    assert refused(TargetConfig, columns={"time": "t"})[0] == ("columns", "time")


def test_an_unknown_frequency_is_refused_at_its_field_with_the_allowed_ones() -> None:
    loc, message = refused(TargetConfig, path="a.csv", freq="monthly")
    assert loc == ("freq",)
    assert "allowed: s, min, h, D" in message


def test_a_path_without_a_frequency_is_refused() -> None:
    assert "path a.csv was given without freq" in refused(TargetConfig, path="a.csv")[1]


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@host:5000",
        "https://token@host/path",
        "postgresql://me:secret@db/mlflow",
        "me:secret@host:5000",
    ],
)
def test_credentials_in_the_tracking_address_are_refused(uri: str) -> None:
    loc, message = refused(TrackingConfig, uri=uri)
    assert loc == ("uri",)
    assert "MLFLOW_TRACKING_URI" in message
    assert "secret" not in message


@pytest.mark.parametrize("uri", ["http://host:5000", "sqlite:////data/a@b/mlflow.db", "https://host/team@work"])
def test_a_tracking_address_without_credentials_is_taken(uri: str) -> None:
    assert TrackingConfig(uri=uri).uri == uri


@pytest.mark.parametrize("strategies", [("average",), ("zero-shot", "scratch", "average")])
def test_average_without_a_tuned_strategy_is_refused(strategies: tuple[str, ...]) -> None:
    assert "average needs a tuned strategy" in refused(FinetuneConfig, strategies=strategies)[1]


def test_ensemble_without_a_network_from_scratch_is_refused() -> None:
    assert "ensemble needs" in refused(FinetuneConfig, strategies=("full", "ensemble"))[1]
    assert FinetuneConfig(strategies=("ensemble", "scratch")).strategies == ("ensemble", "scratch")


@pytest.mark.parametrize("tuned", ["full", "mirrored", "biases", "head"])
def test_average_beside_a_tuned_strategy_is_taken(tuned: str) -> None:
    assert FinetuneConfig.model_validate({"strategies": ("average", tuned)}).strategies == ("average", tuned)


@pytest.mark.parametrize(
    ("section", "field"),
    [
        (TargetConfig(), "freq"),
        (WindowConfig(), "horizon"),
        (PretrainConfig(), "steps"),
        (FinetuneConfig(), "steps"),
        (BacktestConfig(), "cutoffs"),
        (TrackingConfig(), "uri"),
    ],
)
def test_a_section_cannot_be_changed(section: Section, field: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, field, 1)


def test_a_run_starts_from_the_base_model_unless_told_otherwise() -> None:
    assert PretrainConfig().from_ == BASE
    check_start(PretrainConfig(), SourceConfig(), 0.0)
    with pytest.raises(ConfigError, match=r"pretrain.steps, source.synthetic would change nothing.*model base"):
        check_start(PretrainConfig(steps=7), SourceConfig(synthetic=SyntheticConfig(series=64)), 0.0)
    check_start(PretrainConfig(), SourceConfig(synthetic=SyntheticConfig(series=64)), 0.25)  # to be replayed
    check_start(PretrainConfig(from_=NOTHING, steps=7), SourceConfig(synthetic=SyntheticConfig(series=64)), 0.0)


def test_pretraining_takes_its_start_as_from() -> None:
    assert PretrainConfig.model_validate({"from": "models:/a@champion"}).from_ == "models:/a@champion"


def test_without_a_path_the_target_is_the_quarterly_sample() -> None:
    resolved = TargetConfig().resolved()
    assert (resolved.path, resolved.freq) == (str(SAMPLE), "QS")
    assert SAMPLE.is_file()


def test_a_target_of_your_own_is_resolved_to_itself() -> None:
    target = TargetConfig(path="sales/*.csv", freq="D", called="sales")
    assert target.resolved() is target


@pytest.mark.parametrize(
    ("path", "name"),
    [("/data/my sales.csv", "my-sales"), ("a/b.c.parquet", "b-c"), ("sales/%.csv", "target")],
)
def test_the_name_of_a_target_is_fit_for_a_folder(path: str, name: str) -> None:
    assert TargetConfig(path=path, freq="D").name == name


def test_more_history_than_context_is_refused_with_both_figures() -> None:
    with pytest.raises(ConfigError, match=r"min_history 20 is longer than the network's context 16"):
        check_windows(WindowConfig(min_history=20), 16)


def test_as_much_history_as_context_is_taken() -> None:
    check_windows(WindowConfig(min_history=16), 16)


def test_everything_is_written_under_carryover_home(data_folder: Path) -> None:
    assert home() == data_folder.resolve()


def test_a_source_of_another_frequency_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"source\.freq D differs from target\.freq MS"):
        check_source(SourceConfig(freq="D"), 8, TargetConfig(path="x.csv", freq="MS"))


def test_a_source_without_any_frequency_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"source\.freq is missing"):
        check_source(SourceConfig(), 8, None)


def test_a_corpus_shorter_than_two_horizons_is_refused_with_both_figures() -> None:
    source = SourceConfig(freq="D", synthetic=SyntheticConfig(length=50))
    with pytest.raises(ConfigError, match=r"length 50 is under two horizons; make it at least 60"):
        check_source(source, 30, None)


def test_the_sources_frequency_is_the_targets_where_none_is_given() -> None:
    assert check_source(SourceConfig(), 8, TargetConfig(path="x.csv", freq="QS")) == "QS"


def test_a_forecast_file_of_another_kind_is_refused() -> None:
    check_output(Path("next.csv"))
    with pytest.raises(ConfigError, match=r"next\.xlsx ends in neither \.parquet nor \.csv"):
        check_output(Path("next.xlsx"))


@pytest.mark.parametrize("name", ["../escaped", "a/b", "a\nb", "", "x" * 101, ".hidden"])
def test_experiment_names_that_could_leave_the_folder_are_refused(name: str) -> None:
    assert refused(TrackingConfig, experiment=name)[0] == ("experiment",)


@pytest.mark.parametrize(
    "path",
    [
        "s3://key:canary@bucket/x.csv",
        "https://host/x.csv?token=canary",
        "https://me:can/ary@host/canary.csv",
        "https://host/x.csv#canary",
        "postgresql://canary/db",
        "file:///canary.csv",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused_without_repeating_it(path: str) -> None:
    assert "canary" not in refused(SeriesConfig, path=path, freq="D")[1]


@pytest.mark.parametrize("path", ["s3://bucket/x/*.parquet", "gs://b/x.csv", "az://b/x.csv", "https://host:8/x.csv"])
def test_a_plain_address_is_a_path(path: str) -> None:
    assert SeriesConfig(path=path, freq="D").address == path


@pytest.mark.parametrize("connection", ["postgresql://me:canary@host/db", "password=canary", "canary", "block:canary!"])
def test_a_connection_names_a_place_and_is_no_secret(connection: str) -> None:
    assert "canary" not in refused(SeriesConfig, query="SELECT 1", connection=connection, freq="D")[1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"query": "SELECT 1"}, "query was given without connection"),
        ({"connection": "SALES_DB"}, "connection was given without query"),
        ({"query": "SELECT 1", "connection": "SALES_DB", "path": "x.csv"}, "path and query were both given"),
        ({"query": "SELECT 1", "connection": "SALES_DB", "freq": None}, "query was given without freq"),
        ({"query": "SELECT 1", "connection": "SALES_DB"} | {"called": None}, "query was given without called"),
    ],
)
def test_a_query_needs_a_connection_a_frequency_and_a_name(given: dict[str, str | None], words: str) -> None:
    kind = TargetConfig if "called" in given else SeriesConfig
    assert words in refused(kind, **{"freq": "D"} | given)[1]


def test_a_query_with_an_address_in_it_is_refused() -> None:
    text = "SELECT * FROM dblink('postgresql://me:canary@host/db', 'SELECT 1')"
    assert "credentials" in refused(SeriesConfig, query=text, connection="SALES_DB", freq="D")[1]


def test_a_target_is_called_as_it_says_else_as_its_file() -> None:
    query = TargetConfig(query="SELECT 1", connection="SALES_DB", freq="D", called="shop sales")
    assert (query.title, query.name, query.resolved()) == ("shop sales", "shop-sales", query)
    assert TargetConfig(path="a/sales.csv", freq="D").title == "sales"
    assert TargetConfig(path="b/sales.csv", freq="D", called="b.sales").title == "b.sales"


def test_a_query_may_be_pretrained_on() -> None:
    source = SourceConfig(query="SELECT 1", connection="SALES_DB", freq="D")
    assert check_source(source, 200, None) == "D"


@pytest.mark.parametrize("uri", ["http://host:5000?token=canary", "http://me:pa/canary@host"])
def test_addresses_that_hide_a_secret_elsewhere_are_refused(uri: str) -> None:
    assert "canary" not in refused(TrackingConfig, uri=uri)[1]
