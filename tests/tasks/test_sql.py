"""Rows of a query on a real PostgreSQL are what the same rows are in a file; its address is shown nowhere."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from postgres_cluster import Cluster, free_port, postgres_cluster

from rnn_model.errors import CarryoverError, ConfigError, DataError, ServiceError, UnsafeError
from tasks import query
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import TargetConfig

CANARY = "canary/7@x%y"  # a password with every sign that addresses have to quote
DAYS = [date(2024, 1, day) for day in range(1, 11)]
ROWS = [(name, day, None if n == 3 else n + 0.1) for name in ("a", "b") for n, day in enumerate(DAYS)]
ALL = "SELECT unique_id, ds, y FROM sales"
Ask = Callable[..., Dataset]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module, with one table of two series."""
    with postgres_cluster(CANARY) as running:
        running.create_database("shop")
        running.execute("shop", "CREATE TABLE sales (unique_id text, ds date, y double precision)")
        running.execute("shop", "INSERT INTO sales VALUES (%s, %s, %s)", ROWS)
        yield running


@pytest.fixture
def ask(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ingest a query's rows; options go to the config."""
    monkeypatch.setenv("SHOP_DB", cluster.uri("shop"))

    def call(text: str = ALL, **options: Any) -> Dataset:
        given = {"query": text, "connection": "SHOP_DB", "freq": "D", "called": "sales"} | options
        return ingest_files(TargetConfig.model_validate(given), "sales", tmp_path / "raw")

    return call


@pytest.fixture
def refused(ask: Ask) -> Callable[..., CarryoverError]:
    """As `ask`, for what is refused: the error, which is one line without the password."""

    def call(text: str = ALL, **options: Any) -> CarryoverError:
        with pytest.raises(CarryoverError) as raised:
            ask(text, **options)
        assert "\n" not in str(raised.value)
        assert "canary" not in str(raised.value)
        return raised.value

    return call


def in_columns(**columns: str) -> str:
    """A query of ten rows that has these columns."""
    given = {"unique_id": "'a'", "ds": "DATE '2024-01-01' + n", "y": "n::float8"} | columns
    return f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in given.items())} FROM generate_series(0, 9) AS n"


def values(dataset: Dataset) -> list[Any]:
    return pl.read_parquet(dataset.data)["y"].to_list()


def test_a_query_and_a_file_of_the_same_rows_are_the_same_data(ask: Ask, read: Callable[..., Dataset]) -> None:
    frame = pl.DataFrame(ROWS, schema=["unique_id", "ds", "y"], orient="row")
    assert ask().fingerprint == read(frame, "rows.parquet").fingerprint


@pytest.mark.parametrize(
    "kind",
    ["smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(20,3)", "text", "varchar(9)"],
)
def test_numbers_of_every_kind_are_the_same_numbers(ask: Ask, kind: str) -> None:
    assert values(ask(in_columns(y=f"n::{kind}"))) == [float(n) for n in range(10)]


def test_a_numeric_keeps_all_digits_that_a_float_has(ask: Ask) -> None:
    found = values(ask(in_columns(y="CASE n WHEN 0 THEN 0.12345678901234567 WHEN 1 THEN 1e20 ELSE 'NaN' END::numeric")))
    assert found == [0.12345678901234567, 1e20, *[None] * 8]


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamp(0)", "text"])
def test_times_of_every_kind_are_the_same_times(ask: Ask, kind: str) -> None:
    dataset = ask(in_columns(ds=f"(DATE '2024-01-01' + n)::{kind}"))
    assert pl.read_parquet(dataset.data)["ds"].to_list() == [datetime(2024, 1, 1 + n) for n in range(10)]


def test_times_with_a_zone_become_utc(ask: Ask) -> None:
    dataset = ask(in_columns(ds="TIMESTAMPTZ '2024-01-01 02:00+02' + n * INTERVAL '1 day'"))
    assert pl.read_parquet(dataset.data)["ds"].to_list() == [datetime(2024, 1, 1 + n) for n in range(10)]


@pytest.mark.parametrize(
    ("sql", "name"),
    [("7", "7"), ("7::numeric(10)", "7"), ("'x'::char(4)", "x"), ("true", "true"), (f"'{'1' * 32}'::uuid", None)],
    ids=["integer", "numeric", "padded text", "boolean", "uuid"],
)
def test_ids_become_texts(ask: Ask, sql: str, name: str | None) -> None:
    found = pl.read_parquet(ask(in_columns(unique_id=sql)).data)["unique_id"].unique().to_list()
    assert found == [name or "11111111-1111-1111-1111-111111111111"]


def test_columns_are_mapped_and_others_never_read(ask: Ask) -> None:
    text = (
        "SELECT 'a' AS shop, DATE '2024-01-01' + n AS day, n AS \"Sold!\", '1 day'::interval AS i, 1::money AS m FROM"
    )
    found = ask(f"{text} generate_series(0, 9) AS n", columns={"id": "shop", "ds": "day", "y": "Sold!"})
    assert values(found) == [float(n) for n in range(10)]


def test_labels_and_as_of_hold_for_a_query(ask: Ask) -> None:
    dataset = ask(in_columns(region="'north'::char(9)"), columns={"segment": "region"}, as_of="2024-01-04")
    assert (dataset.rows, dataset.later) == (4, 6)
    assert dataset.labels is not None
    assert pl.read_parquet(dataset.labels).rows() == [("a", "north")]


@pytest.mark.parametrize("end", [";", " ; \n", " -- all of them", " ORDER BY ds DESC", " WHERE unique_id LIKE '%'"])
def test_a_query_may_end_as_people_write_it(ask: Ask, end: str) -> None:
    assert ask(ALL + end).rows == len(ROWS)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("SELECT * FROM nothere", 2, "target.query: relation \"nothere\" does not exist; correct the query"),
        ("SELCT 1", 2, "target.query: syntax error at or near \"1\"; correct the query"),
        ("DROP TABLE sales", 2, "target.query: syntax error at or near \"TABLE\"; correct the query"),
        (in_columns(y="1 / (n - 5)"), 65, "target.query: division by zero; correct the query or the rows it reads"),
        (f"{ALL} WHERE y > 1000", 65, "target.query: no rows; expected at least one row of unique_id, ds, y"),
        (in_columns(y="'x'"), 65, "row 1, series 'a': y is 'x'"),
        (in_columns(ds="'infinity'::timestamp"), 65, "expected a date between the years 0 and 9999"),
        (in_columns(y="'1 day'::interval"), 65, "column 'y' holds interval, expected numbers; map another with"),
        (in_columns(y="true"), 65, "column 'y' holds boolean, expected numbers"),
        (in_columns(ds="n"), 65, "column 'ds' holds integer, expected dates such as 2024-01-31"),
        (in_columns(unique_id="ARRAY[1]"), 65, "column 'unique_id' holds integer[], expected names"),
        (f"SELECT *, 1 AS y FROM ({ALL}) AS x", 65, "column 'y' occurs 2 times; rename one"),
        ("SELECT unique_id, ds FROM sales", 65, "no column 'y'"),
    ],
    ids=["table", "syntax", "drop", "zero", "no rows", "text", "infinite", "interval", "boolean", "integer", "array",
         "double", "absent"],
)  # fmt: skip
def test_what_is_wrong_with_a_query_is_said_in_one_line(
    refused: Callable[..., CarryoverError], text: str, code: int, words: str
) -> None:
    error = refused(text)
    assert words in str(error)
    assert error.exit_code == code


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda uri: uri.replace("carry:canary", "carry:canary-wrong"), UnsafeError, "refuses the login"),
        (lambda uri: uri.replace("carry:", "nobody:"), UnsafeError, "refuses the login"),
        (lambda uri: re.sub(r":canary[^@]*@", "@", uri), UnsafeError, "refuses the login"),
        (lambda uri: uri.replace("/shop", "/nothere"), ServiceError, 'database "nothere" does not exist'),
        (lambda uri: re.sub(r":\d+/", f":{free_port()}/", uri), ServiceError, "does not answer (Connection refused)"),
        (lambda uri: uri.replace("127.0.0.1", "no-such-host.invalid"), ServiceError, "does not answer"),
        (lambda uri: f"{uri}?sslmode=require", ServiceError, "server does not support SSL"),
        (lambda uri: "host=127.0.0.1 password=canary", ConfigError, "SHOP_DB holds no address of PostgreSQL"),
        (lambda uri: f"{uri}?nothing=canary", ConfigError, "SHOP_DB holds an address that PostgreSQL cannot read"),
        (lambda uri: "postgresql://me:canary/1@host/db", ConfigError, "SHOP_DB holds an @ past its host"),
        (lambda uri: "", ConfigError, "environment variable SHOP_DB is not set"),
    ],
    ids=["password", "user", "no password", "database", "port", "host", "no TLS", "words", "option", "slash", "unset"],
)
def test_a_server_that_gives_no_session_is_named_without_credentials(
    refused: Callable[..., CarryoverError],
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[str], str],
    kind: type[CarryoverError],
    words: str,
) -> None:
    monkeypatch.setenv("SHOP_DB", change(cluster.uri("shop")))
    begun = time.monotonic()
    error = refused()
    assert time.monotonic() - begun < 10
    assert words in str(error)
    assert type(error) is kind
    if kind is not ConfigError:
        assert re.search(r"at (127\.0\.0\.1|no-such-host\.invalid):\d+ \(SHOP_DB\)", str(error))
        assert "carry" not in str(error)


def test_without_the_extra_it_is_named(refused: Callable[..., CarryoverError], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "find_spec", lambda name: None if name == "connectorx" else object())
    error = refused()
    assert str(error) == "a query needs connectorx, not installed here; pip install 'carryover[sql]'"
    assert error.exit_code == 2


BERLIN_DAYS = (
    "TIMESTAMPTZ '2024-03-29 23:00:00Z' + n * INTERVAL '1 day' - CASE WHEN n > 1 THEN INTERVAL '1 hour' ELSE '0' END"
)


def test_days_as_timestamptz_need_the_zone_whose_days_they_are(ask: Ask) -> None:
    with pytest.raises(DataError, match=r"begin at 22:00 and at 23:00 on the clock of UTC.*--target\.timezone"):
        ask(in_columns(ds=BERLIN_DAYS))
    dataset = ask(in_columns(ds=BERLIN_DAYS), timezone="Europe/Berlin")
    assert pl.read_parquet(dataset.data)["ds"].to_list() == [
        datetime(2024, 3, 30) + timedelta(days=n) for n in range(10)
    ]


def test_hours_as_timestamptz_come_out_in_utc_or_the_declared_zone(ask: Ask) -> None:
    query = in_columns(ds="TIMESTAMPTZ '2024-03-31 00:00:00+01' + n * INTERVAL '1 hour'")
    plain, named = ask(query, freq="h"), ask(query, freq="h", timezone="Europe/Berlin")
    assert (plain.output_zone, named.output_zone) == ("UTC", "Europe/Berlin")
    assert plain.fingerprint == named.fingerprint
    assert pl.read_parquet(plain.data)["ds"][0] == datetime(2024, 3, 30, 23)
