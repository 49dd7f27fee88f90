"""Probes of Python and its libraries: versions against the pins, and imports that break."""

import sys
from pathlib import Path

import pytest

from tasks import installation
from tasks.finding import SETTING
from tasks.installation import check_imports, check_python, check_versions, installed, pins

PINS = """# prefect 3.8.8: the newest that fits
fastapi==0.150.0
Prefect_Like==3.8.8  # why
torch==2.13.0 ; sys_platform == "linux"
"""


def test_pins_are_read_without_comments_and_markers_under_plain_names(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text(PINS)
    assert pins(tmp_path / "constraints.txt") == {"fastapi": "0.150.0", "prefect-like": "3.8.8", "torch": "2.13.0"}
    assert pins(tmp_path / "none.txt") == {}


def test_what_is_installed_is_asked_of_its_metadata_and_a_build_counts_as_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = installed({"pytest": "0", "no-such-package": "1"})
    assert found == {"pytest": pytest.__version__}
    monkeypatch.setattr(installation.metadata, "version", lambda _: "2.13.0+cpu")
    assert installed({"torch": "2.13.0"}) == {"torch": "2.13.0"}


def test_a_version_that_differs_names_package_pin_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "needed", lambda: ["prefect", "torch"])
    pinned = {"fastapi": "0.150.0", "prefect": "3.8.8", "ray": "2.0", "torch": "2.13.0"}
    found = check_versions(pinned, {"fastapi": "0.165.0", "prefect": "3.8.8"})
    assert (found.state, found.code) == ("wrong", SETTING)
    assert found.found == "torch is missing (pinned: 2.13.0), fastapi 0.165.0 (pinned: 0.150.0)"
    assert found.remedy == "pip install -c constraints.txt 'torch==2.13.0' 'fastapi==0.150.0'"
    whole = check_versions(pinned, {"fastapi": "0.150.0", "prefect": "3.8.8", "torch": "2.13.0"})
    assert whole.state == "ok"  # ray is asked for by an extra alone
    assert check_versions({}, {}).state == "warning"


def test_an_old_python_is_wrong() -> None:
    assert check_python((3, 10, 9)).state == "wrong"
    assert check_python((3, 12, 0)).state == "ok"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which each Python that is started takes its modules first; `sound` is one of them."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sound.py").write_text("")
    monkeypatch.setattr(installation, "IMPORTED", {"sound": "sound", "frail": "frail"})
    return tmp_path


@pytest.mark.parametrize(
    ("content", "words", "remedy"),
    [
        ("raise ImportError('cannot import name x')", "ImportError: cannot import name x", "frail==1.0"),
        ("import fastapi_of_old", "No module named 'fastapi_of_old'", "fastapi-of-old==0.150.0"),
        ("raise ValueError('http://me:SECRET@host')", "ValueError: http://***@host", "frail==1.0"),
        ("import os; os.abort()", "ended with code -6", "frail==1.0"),
    ],
)
def test_a_library_that_cannot_be_imported_is_named_with_its_pin(
    library: Path, content: str, words: str, remedy: str
) -> None:
    (library / "frail.py").write_text(content)
    (found,) = check_imports({"frail": "1.0", "fastapi-of-old": "0.150.0"})
    assert (found.state, found.code) == ("wrong", SETTING)
    assert words in found.found
    assert "SECRET" not in found.found
    assert found.remedy == f"pip install --force-reinstall -c constraints.txt {remedy}"


def test_an_import_that_hangs_is_given_up(library: Path) -> None:
    (library / "frail.py").write_text("import time; time.sleep(600)")
    (found,) = check_imports({}, seconds=1)
    assert (found.state, found.found) == ("warning", "frail was not imported within 1 s")


def test_libraries_that_can_be_imported_are_told(library: Path) -> None:
    (library / "frail.py").write_text("")
    (found,) = check_imports({})
    assert found.state == "ok"
    assert "frail" not in sys.modules  # but not into this process
