"""Which files are a target's: none that changes while it is read, and no other one under its name without a word."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rnn_model.artefact import sha256_file
from rnn_model.errors import BusyError, DataError
from tasks import files
from tasks.files import read_files
from tasks.ids import Part
from tasks.ingest import ingest
from tasks.series_config import SeriesConfig, TargetConfig
from tasks.sources import source_notes

ROWS = "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n"


def target(path: Path, **fields: str) -> TargetConfig:
    return TargetConfig.model_validate({"path": str(path), "freq": "D"} | fields)


@pytest.fixture
def shops(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of one name in two folders."""
    paths = tmp_path / "north" / "shop.csv", tmp_path / "south" / "shop.csv"
    for path in paths:
        path.parent.mkdir()
        path.write_text(ROWS)
    return paths


# ---- one name, one source


@pytest.mark.parametrize("pattern", ["north/*.csv", "sales-?.csv", "[ab].parquet", "s3://bucket/sales/*.parquet"])
def test_a_pattern_names_no_target_by_itself(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"names many files and no target; name it, e\.g\. --target\.called"):
        TargetConfig(path=pattern, freq="D")
    assert TargetConfig(path=pattern, freq="D", called="sales").title == "sales"


def test_a_file_that_looks_like_a_pattern_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "sales[1].csv").write_text(ROWS)
    assert target(tmp_path / "sales[1].csv").title == "sales[1]"


def test_a_pattern_among_the_folders_leaves_the_file_its_name() -> None:
    assert TargetConfig(path="*/sales.csv", freq="D").title == "sales"


def test_another_file_under_one_name_is_told_and_the_same_one_is_not(shops: tuple[Path, Path]) -> None:
    north, south = shops
    assert [source_notes(target(north)) for _ in range(2)] == [(), ()]
    (note,) = source_notes(target(south))
    assert f"target shop was read from {north} the last time, and from {south} now" in note
    assert "--target.called" in note
    assert source_notes(target(south)) == ()


def test_a_name_that_was_given_is_its_users_word(shops: tuple[Path, Path]) -> None:
    assert [source_notes(target(path, called="shop")) for path in shops] == [(), ()]


def test_a_copy_in_the_data_folder_is_no_other_source(shops: tuple[Path, Path], data_folder: Path) -> None:
    copy = data_folder / "proofs" / "shop.csv"
    copy.parent.mkdir(parents=True)
    copy.write_text(ROWS)
    assert [source_notes(target(path)) for path in (shops[0], copy, shops[0])] == [(), (), ()]


def test_a_damaged_record_of_the_source_is_no_fault(shops: tuple[Path, Path], data_folder: Path) -> None:
    source_notes(target(shops[0]))
    (record,) = (data_folder / "targets").iterdir()
    record.write_text("[" * 100_000)
    assert source_notes(target(shops[1])) == ()


def test_what_is_read_carries_the_word_and_the_files(shops: tuple[Path, Path]) -> None:
    ingest(target(shops[0]), "shop")
    made = ingest(target(shops[1]), "shop")
    assert "was read from" in made.notes[0]
    assert [(f.name, f.sha256, f.size) for f in made.files] == [("shop.csv", sha256_file(shops[1]), len(ROWS))]


# ---- a file that changes


def grow(path: Path) -> None:
    with path.open("a") as file:
        file.write("a,2024-01-03,3\n")


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text(ROWS.replace(",2\n", ",3\n"))
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def add(path: Path) -> None:
    path.with_name("later.csv").write_text(ROWS)


@pytest.mark.parametrize("change", [grow, replace, remove, add])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    shops: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, change: object, place: str
) -> None:
    north, _ = shops
    read = files.read_file

    def beside_a_writer(path: Path, config: SeriesConfig) -> Part:
        if place == "before":
            change(north)  # type: ignore[operator]
        part = read(path, config)
        if place == "after":
            change(north)  # type: ignore[operator]
        return part

    monkeypatch.setattr(files, "read_file", beside_a_writer)
    pattern = str(north.with_name("*.csv"))
    with pytest.raises(BusyError, match="changed while it was read") as raised:
        read_files(pattern, SeriesConfig(path=pattern, freq="D"))
    assert raised.value.exit_code == 75


def test_a_file_that_is_wrong_and_does_not_change_is_refused_for_what_is_wrong(shops: tuple[Path, Path]) -> None:
    shops[0].write_text("unique_id,ds\na,2024-01-01\n")
    with pytest.raises(DataError, match="no column 'y'"):
        read_files(str(shops[0]), SeriesConfig(path=str(shops[0]), freq="D"))
