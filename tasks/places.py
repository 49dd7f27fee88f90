"""Where the project and its data stand. Imports nothing but Python, for `carryover doctor`."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def home() -> Path:
    """Where everything is written: $CARRYOVER_HOME, else the project's data folder."""
    return Path(os.environ.get("CARRYOVER_HOME") or PROJECT / "data").resolve()
