"""A served model needs what its requirements say and nothing else of the project's."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from datetime import datetime, timedelta
from importlib.metadata import distributions, requires
from pathlib import Path

import polars as pl
import pytest

from rnn_model.checkpoint import ModelCard
from rnn_model.config import ModelConfig
from tasks.config import PROJECT
from tasks.forecaster import usable_series
from tasks.tracking import _requirements

LIST = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))  # importing one of these fails as if it were not there
import tasks.serving
names = [name for name in sys.modules if name.partition(".")[0] in ("tasks", "rnn_model")]
print(json.dumps([sys.modules[name].__file__ for name in names]))
"""
MODULES = {"pyyaml": "yaml", "pydantic-settings": "pydantic_settings"}  # distribution -> module, where they differ


def distribution(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


REQUIRED = {distribution(line) for line in _requirements()}
DIRECT = {
    MODULES.get(name, name): name
    for name in map(distribution, tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"])
}


def closure(names: set[str]) -> set[str]:
    """The distributions that come with those, by their metadata; extras do not."""
    found: set[str] = set()
    here = installed()
    while names - found:
        name = (names - found).pop()
        found.add(name)
        lines = requires(name) or [] if name in here else []
        names = names | {distribution(line) for line in lines if "extra ==" not in line}
    return found


def installed() -> set[str]:
    return {str(d.metadata["Name"]).lower().replace("_", "-") for d in distributions()}


def imported(path: Path) -> set[str]:
    """Top-level names of the absolute imports in a source file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


ABSENT = sorted(module for module, name in DIRECT.items() if name not in closure(REQUIRED))


@pytest.fixture(scope="module")
def served() -> "subprocess.CompletedProcess[str]":
    """tasks.serving imported alone, without the project's dependencies that its requirements do not bring."""
    command = [sys.executable, "-c", LIST, json.dumps(ABSENT)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_the_served_code_loads_with_nothing_but_its_requirements(served: "subprocess.CompletedProcess[str]") -> None:
    assert {"prefect", "utilsforecast", "statsforecast"} <= set(ABSENT)
    assert served.returncode == 0, served.stderr[-1000:]


def test_every_library_that_the_served_code_imports_is_required(served: "subprocess.CompletedProcess[str]") -> None:
    used = set().union(*(imported(Path(path)) for path in json.loads(served.stdout)))
    assert {"torch", "polars", "mlflow"} <= used
    assert {DIRECT[module] for module in used & set(DIRECT)} - REQUIRED == set()


def test_requirements_are_pinned_without_local_versions() -> None:
    assert [line for line in _requirements() if not re.fullmatch(r"[a-z0-9_-]+==[0-9][0-9a-z.]*", line)] == []


def test_a_model_made_with_gaps_as_zeros_forecasts_with_zeros() -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=n) for n in (0, 1, 3, 6)]
    rows = pl.DataFrame({"unique_id": ["a"] * 4, "ds": days, "y": [1.0, 2.0, 3.0, 4.0]})
    card = ModelCard(model=ModelConfig(context=8), freq="D", periods=(7, 7), gaps="zero", horizon=2, strategy="full")
    used, _ = usable_series(rows.with_columns(pl.col("ds").cast(pl.Datetime("us"))), card)
    assert used["y"].to_list() == [1, 2, 0, 3, 0, 0, 4]
