"""Objects of a store (s3, gs, az) and of web servers, by Polars' own readers; credentials come from the environment.

A Parquet object is scanned where it is. A CSV is checked byte by byte like a local file, so Polars
copies it first, line by line; the copy lives as long as it is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import requests

from rnn_model.errors import CarryoverError, DataError, ServiceError, UnsafeError
from tasks.files import first_line, known_kind, read_csv, read_parquet
from tasks.ids import Part
from tasks.series_config import SeriesConfig

OPTIONS: dict[str, Any] = {"max_retries": 2, "retry_timeout_ms": 6000, "connect_timeout": "4s"}  # of the store's client
ANSWER = 4  # seconds that a web server has to say anything
REFUSED = ("401 ", "403 ", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


def read_objects(address: str, config: SeriesConfig) -> list[Part]:
    """Every object of an address or glob, columns mapped and typed.

    Raises DataError (65) for one that is not there or cannot be read, ServiceError (69) for a store that does not
    answer, UnsafeError (77) for one that refuses.
    """
    known_kind(address)
    with answering(address):
        if address.startswith("http"):
            requests.head(address, timeout=ANSWER)  # one that is down Polars asks for half a minute
        objects = listed(address) if any(sign in address for sign in "*[") else [address]
    if not objects:
        raise absent(address)
    return [read_object(each, config) for each in objects]


def listed(pattern: str) -> list[str]:
    """Addresses of the objects that fit a glob, sorted. A web server cannot list. Raises DataError."""
    if pattern.startswith("http"):
        raise DataError(f"{pattern}: a web server lists no files; name one, or read a store by s3://, gs:// or az://")
    from polars.io._expand_paths import (
        _expand_paths,
    )  # Polars' own listing; without it every object would be read twice

    return sorted(_expand_paths(pattern, storage_options=OPTIONS).collect().to_series())


def read_object(address: str, config: SeriesConfig) -> Part:
    """One object."""
    if known_kind(address) == ".csv":
        with copied(address) as path:
            return read_csv(path, address, config)
    with answering(address):
        return read_parquet(pl.scan_parquet(address, glob=False, storage_options=OPTIONS), address, config)


@contextmanager
def copied(address: str) -> Iterator[Path]:
    """A local copy of a text object for the length of a `with` block; CRLF become LF, all else is as it was."""
    with TemporaryDirectory(prefix="carryover-") as folder:
        path = Path(folder) / "object.csv"
        with answering(address):
            lines = pl.scan_lines(address, glob=False, storage_options=OPTIONS)
            lines.sink_csv(path, include_header=False, quote_style="never")
        with path.open("rb+") as copy:
            copy.truncate(max(copy.seek(0, 2) - 1, 0))  # the last line's end, which may have had none
        yield path


@contextmanager
def answering(address: str) -> Iterator[None]:
    """Errors of a store in our words: its own hold answers of servers, and addresses made up on the way."""
    try:
        yield
    except CarryoverError:
        raise
    except FileNotFoundError:
        raise absent(address) from None
    except pl.exceptions.PolarsError as error:
        if "utf8" in str(error):
            raise DataError(f"{address}: not UTF-8; save it as UTF-8") from None
        raise DataError(f"{address}: incomplete or not Parquet ({first_line(error)}); write it again") from None
    except Exception as error:  # noqa: BLE001  (every store's client raises its own kinds)
        raise unanswered(address, error) from None


def absent(address: str) -> DataError:
    """There is nothing of this name."""
    return DataError(
        f"{address}: no such object; name a CSV or Parquet object, or a quoted glob such as 's3://b/*.csv'"
    )


def unanswered(address: str, error: Exception) -> CarryoverError:
    """Why a store gave nothing: it refuses, cannot give parts of a file, has no credentials, or is away."""
    host, words = urlsplit(address).netloc, str(error)
    if isinstance(error, PermissionError) or any(sign in words for sign in REFUSED):
        return UnsafeError(
            f"{address}: {host} refuses access; check the credentials in the environment and their rights"
        )
    if "Range request not supported" in words:
        return ServiceError(f"{address}: {host} gives no parts of files; copy the file here and name the copy")
    return ServiceError(
        f"{address}: {host} does not answer ({type(error).__name__}); check the address, and the store's endpoint and "
        "credentials in the environment"
    )
