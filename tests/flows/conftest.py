"""One tiny run of the whole chain, which many tests look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_pipeline import carry, series

from tasks.handles import Outcome


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_HOME", str(folder / "data"))
        yield folder


@pytest.fixture
def one_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of that run, for tests that go on from it."""
    monkeypatch.setenv("CARRYOVER_HOME", str(home / "data"))
    return home / "data"


@pytest.fixture(scope="session")
def target(home: Path) -> Path:
    path = home / "target.parquet"
    series().write_parquet(path)
    return path


@pytest.fixture(scope="session")
def outcome(home: Path, target: Path) -> Outcome:
    return carry(target)
