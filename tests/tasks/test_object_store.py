"""Objects of a local S3 server, and files of a web server, are what the same files here are."""

import functools
import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from postgres_cluster import free_port

from rnn_model.errors import CarryoverError, DataError, ServiceError, UnsafeError
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.receipt import files_of
from tasks.series_config import TargetConfig

SECRETS = {"AWS_ACCESS_KEY_ID": "canary-id", "AWS_SECRET_ACCESS_KEY": "canary-key"}
CSV = "unique_id,ds,y\n" + "".join(f"{name},2024-01-0{day},{day}.5\n" for name in "ab" for day in range(1, 8))
Get = Callable[..., Dataset]


def parquet(text: str = CSV) -> bytes:
    """The rows of a CSV as a Parquet file."""
    buffer = io.BytesIO()
    pl.read_csv(io.StringIO(text), try_parse_dates=True).write_parquet(buffer)
    return buffer.getvalue()


OBJECTS = {
    "rows.csv": CSV.encode(),
    "rows.parquet": parquet(),
    "crlf.csv": b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode().rstrip(),
    "parts/a.csv": "".join(line for line in CSV.splitlines(True) if not line.startswith("b,")).encode(),
    "parts/b.csv": "".join(line for line in CSV.splitlines(True) if not line.startswith("a,")).encode(),
    "halves/1.parquet": parquet("\n".join(CSV.splitlines()[:5])),
    "halves/2.parquet": parquet("\n".join([CSV.splitlines()[0], *CSV.splitlines()[5:]])),
    "cut.parquet": parquet()[:-40],
    "latin.csv": CSV.replace("a,", "ä,").encode("latin-1"),
    "cr.csv": CSV.replace("\n", "\r").encode(),
    "short.csv": b"unique_id,ds,y\na,2024-01-01\n",
    "words.csv": b"unique_id,ds,y\na,2024-01-01,many\n",
    "nothing.csv": b"",
    "rows.txt": CSV.encode(),
    "columns.parquet": parquet(CSV.replace("y\n", "sold\n", 1)),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server with one bucket that holds OBJECTS; its address."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "canary-id", "aws_secret_access_key": "canary-key"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="shop")
    for key, content in OBJECTS.items():
        client.put_object(Bucket="shop", Key=key, Body=content, ACL="public-read")
    yield endpoint
    moto.stop()


@pytest.fixture
def get(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Get:
    """Ingest an address; the store's endpoint and keys are in the environment alone."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    def call(address: str, **options: Any) -> Dataset:
        config = TargetConfig.model_validate({"path": address, "freq": "D", "called": "rows"} | options)
        assert files_of(config) == ()  # a receipt names local files; these are known by what ingest makes of them
        return ingest_files(config, "rows", tmp_path / "raw")

    return call


@pytest.fixture
def refused(get: Get) -> Callable[..., CarryoverError]:
    """As `get`, for what is refused: the error, which is one line without a secret, within ten seconds."""

    def call(address: str, **options: Any) -> CarryoverError:
        begun = time.monotonic()
        with pytest.raises(CarryoverError) as raised:
            get(address, **options)
        assert time.monotonic() - begun < 10
        assert "\n" not in str(raised.value)
        assert "canary" not in str(raised.value)
        return raised.value

    return call


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server that knows no parts of files."""
    (tmp_path / "rows.csv").write_text(CSV)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "key", ["rows.csv", "rows.parquet", "crlf.csv", "parts/*.csv", "parts/[ab].csv", "halves/*.parquet", "r*.parquet"]
)
def test_objects_and_a_file_of_the_same_rows_are_the_same_data(get: Get, read: Get, key: str) -> None:
    assert get(f"s3://shop/{key}").fingerprint == read(CSV).fingerprint


@pytest.mark.parametrize("key", ["rows.csv", "rows.parquet"])
def test_files_of_a_web_server_are_read(get: Get, server: str, read: Get, key: str) -> None:
    assert get(f"{server}/shop/{key}").fingerprint == read(CSV).fingerprint


def test_the_copy_of_a_csv_is_gone_afterwards(get: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "copies"))
    get("s3://shop/rows.csv")
    assert not list((tmp_path / "copies").iterdir())


def test_columns_and_as_of_hold_for_an_object(get: Get) -> None:
    dataset = get("s3://shop/columns.parquet", columns={"y": "sold"}, as_of="2024-01-03")
    assert (dataset.rows, dataset.later) == (6, 8)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("none.csv", "no such object"),
        ("none.parquet", "no such object"),
        ("none/*.csv", "no such object"),
        ("rows.txt", "kind '.txt' is not read"),
        ("cut.parquet", "incomplete or not Parquet"),
        ("latin.csv", "not UTF-8"),
        ("cr.csv", "lines end in CR alone"),
        ("short.csv", "row 2 has 2 fields, the header has 3"),
        ("words.csv", "row 2, series 'a': y is 'many'; expected a number"),
        ("nothing.csv", "no rows; the file is empty"),
        ("columns.parquet", "no column 'y', found 'unique_id', 'ds', 'sold'"),
    ],
)
def test_an_object_is_refused_as_a_file_is(refused: Callable[..., CarryoverError], key: str, words: str) -> None:
    error = refused(f"s3://shop/{key}")
    assert str(error).startswith(f"s3://shop/{key}: {words}")
    assert type(error) is DataError


def test_a_bucket_that_is_not_there_holds_no_object(refused: Callable[..., CarryoverError]) -> None:
    assert "no such object" in str(refused("s3://nobody/rows.csv"))


@pytest.mark.parametrize("key", ["rows.csv", "*.parquet"])
def test_a_store_that_is_down_is_69(
    refused: Callable[..., CarryoverError], get: Get, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    port = free_port()  # a bucket of its own each: Polars keeps the client of one that it knows
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    error = refused(f"s3://away-{port}/{key}")
    assert "does not answer" in str(error)
    assert type(error) is ServiceError


def test_a_web_server_that_is_down_is_69(refused: Callable[..., CarryoverError]) -> None:
    error = refused(f"http://127.0.0.1:{free_port()}/rows.csv")
    assert "does not answer" in str(error)
    assert type(error) is ServiceError


def test_a_web_server_lists_no_files(refused: Callable[..., CarryoverError], server: str) -> None:
    assert "a web server lists no files" in str(refused(f"{server}/shop/*.csv"))


def test_a_web_server_without_parts_is_told_apart(refused: Callable[..., CarryoverError], web: str) -> None:
    error = refused(f"{web}/rows.csv")
    assert "gives no parts of files; copy the file here" in str(error)
    assert type(error) is ServiceError


def test_a_refusing_store_is_77(refused: Callable[..., CarryoverError], monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403, "canary")

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.server_address[1]}")
        errors = [refused(f"s3://closed-{running.server_address[1]}/rows.{kind}") for kind in ("csv", "parquet")]
        running.shutdown()
        thread.join()
    assert all("refuses access; check the credentials in the environment" in str(error) for error in errors)
    assert {type(error) for error in errors} == {UnsafeError}
