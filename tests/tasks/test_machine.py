"""The digest of the code, by which results of other code are known."""

from pathlib import Path

import pytest

from tasks.machine import code_digest


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a package with one file in a sub-package."""
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "inner" / "rule.py").write_text("LIMIT = 1\n")
    monkeypatch.setattr("tasks.machine.PROJECT", tmp_path)
    return code_digest("package")


def test_a_change_in_a_sub_package_changes_it(digest: str, tmp_path: Path) -> None:
    (tmp_path / "package" / "inner" / "rule.py").write_text("LIMIT = 2\n")
    assert code_digest("package") != digest


def test_a_new_file_in_a_sub_package_changes_it(digest: str, tmp_path: Path) -> None:
    (tmp_path / "package" / "inner" / "empty.py").touch()
    assert code_digest("package") != digest


def test_a_file_that_moves_changes_it(digest: str, tmp_path: Path) -> None:
    (tmp_path / "package" / "inner" / "rule.py").rename(tmp_path / "package" / "rule.py")
    assert code_digest("package") != digest


def test_what_is_no_source_does_not_change_it(digest: str, tmp_path: Path) -> None:
    (tmp_path / "package" / "inner" / "rule.pyc").write_bytes(b"compiled")
    assert code_digest("package") == digest
