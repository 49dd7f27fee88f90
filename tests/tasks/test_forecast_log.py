"""The log of forecasts holds together, tells of every change, and finds its folders after a move."""

import shutil
from pathlib import Path

import pytest

from rnn_model.errors import IntegrityError
from tasks.forecast_log import Batch, append_batch, forecasts_folder, published, read_log


def line(folder: str, key: str = "k", **fields: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "key": key,
        "target": "sales",
        "folder": forecasts_folder("sales") / folder,
        "digest": "d" * 64,
        "model": "models:/sales/3",
        "version": 3,
        "weights": "w",
        "data": "f",
        "freq": "D",
        "season": 7,
        "gaps": "missing",
        "horizon": 14,
        "as_of": None,
        "first_cutoff": "2024-01-01T00:00:00.000000",
        "last_cutoff": "2024-01-02T00:00:00.000000",
        "series": 2,
        "rows": 28,
        "paths": {"model": 2},
    }
    return usual | fields


def logged(*folders: str) -> tuple[Batch, ...]:
    return tuple(append_batch(read_log("sales"), **line(folder, key=folder)) for folder in folders)


def test_what_was_appended_is_what_is_read() -> None:
    written = logged("a", "b")
    assert published("sales") == written
    assert [batch.seq for batch in written] == [1, 2]
    assert written[1].folder == forecasts_folder("sales") / "b"


def test_no_log_is_no_forecast() -> None:
    assert published("sales") == ()


@pytest.mark.parametrize("changed", [0, 1])
def test_a_changed_line_is_refused_even_the_last(changed: int) -> None:
    logged("a", "b")
    path = read_log("sales").path
    lines = path.read_text().splitlines()
    lines[changed] = lines[changed].replace('"rows":28', '"rows":29')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(IntegrityError, match=f"line {changed + 1} is not what was written"):
        published("sales")


def test_a_line_cut_short_by_a_kill_does_not_count() -> None:
    logged("a", "b")
    path = read_log("sales").path
    path.write_bytes(path.read_bytes()[:-20])
    assert [batch.key for batch in published("sales")] == ["a"]
    assert [batch.key for batch in (*published("sales"), *logged("c"))] == ["a", "c"]
    assert [batch.key for batch in published("sales")] == ["a", "c"]


def test_a_moved_data_folder_keeps_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged("a")
    shutil.move(tmp_path / "data", tmp_path / "moved")
    monkeypatch.setenv("CARRYOVER_HOME", str(tmp_path / "moved"))
    assert published("sales")[0].folder == tmp_path / "moved" / "forecasts" / "sales" / "a"


def test_targets_whose_names_differ_in_odd_letters_alone_share_no_log() -> None:
    assert forecasts_folder("sales.north") != forecasts_folder("sales-north")


def test_the_latest_batch_of_a_key_is_found() -> None:
    logged("a", "b", "a")
    found = read_log("sales").made("a")
    assert found is not None
    assert found.seq == 3
    assert read_log("sales").made("z") is None
