"""Files to ingest, written by the test that reads them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from rnn_model.errors import DataError
from tasks.config import SeriesConfig
from tasks.handles import Dataset
from tasks.ingest import ingest_files


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Dataset]:
    """Write content to a file (text, bytes or a frame) and ingest it; options go to the config."""

    def call(content: str | bytes | pl.DataFrame, name: str = "rows.csv", **options: object) -> Dataset:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        config = SeriesConfig.model_validate({"path": str(path), "freq": "D"} | options)
        return ingest_files(config, "rows", tmp_path / "raw")

    return call


@pytest.fixture
def refusal(read: Callable[..., Dataset]) -> Callable[..., str]:
    """As `read`, for content that is refused as bad data: the one line that says why."""

    def call(content: str | bytes | pl.DataFrame, name: str = "rows.csv", **options: object) -> str:
        with pytest.raises(DataError) as raised:
            read(content, name, **options)
        assert raised.value.exit_code == 65
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return call
