"""Folders that were made to do harm: links, names that lead out, sizes and depths that cannot be meant."""

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_model.artefact import MANIFEST, open_checked, publish, sha256_file
from rnn_model.checkpoint import (
    CARD,
    RECORD,
    WEIGHTS,
    ModelCard,
    load_card,
    load_model,
    read_record,
    save_model,
)
from rnn_model.errors import CarryoverError, IntegrityError, UnsafeError
from rnn_model.json_file import parse_json, read_json
from rnn_model.network import Network

DEEP = "[" * 200_000


@pytest.fixture
def folder(lively: Callable[..., Network], tmp_path: Path) -> Path:
    network = lively()
    card = ModelCard(
        model=network.config, freq="MS", periods=(4, 12), horizon=network.horizon, strategy="full", seen={"a": "2024"}
    )
    return save_model(network, card, tmp_path / "model")


def seal(folder: Path, **more: str) -> None:
    """Make the manifest true again, as somebody who means harm would."""
    files = {str(p.relative_to(folder)): sha256_file(p) for p in folder.rglob("*") if p.is_file()}
    files.pop(MANIFEST, None)
    (folder / MANIFEST).write_text(json.dumps({"sha256": files | more}))


def refused(folder: Path, kind: type[CarryoverError], code: int, words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        load_model(folder)
    assert raised.value.exit_code == code
    assert "\n" not in str(raised.value)


# ---- links


@pytest.mark.parametrize("name", [WEIGHTS, CARD, "training.json", MANIFEST])
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_that_is_a_link_is_refused(folder: Path, tmp_path: Path, name: str, inside: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = (folder if inside else tmp_path / "elsewhere") / "real"
    (folder / name).rename(place)
    (folder / name).symlink_to(place)
    if name != MANIFEST:
        seal(folder)
    refused(folder, UnsafeError, 77, f"{name}: a link to")


@pytest.mark.parametrize("target", ["folder", "nowhere", "/etc/hostname"])
def test_a_link_beside_the_files_is_refused_whatever_it_leads_to(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    (folder / "more").symlink_to(tmp_path / target)
    seal(folder)
    refused(folder, UnsafeError, 77, "more: a link to")


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    refused(folder, UnsafeError, 77, "pipe: neither a file nor a folder")


def test_hard_links_and_a_link_to_the_whole_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).hardlink_to(folder / WEIGHTS)
    (tmp_path / "current").symlink_to(folder)
    assert load_model(tmp_path / "current")[1] == load_model(folder)[1]


def test_a_published_folder_with_a_planted_link_is_made_anew_and_the_target_of_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    folder = publish(tmp_path / "out", lambda staging: write(staging / "a.txt"))
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(tmp_path / "precious")
    publish(folder, lambda staging: write(staging / "a.txt"))
    assert (open_checked(folder) / "a.txt").read_text() == "a"
    assert (tmp_path / "precious").read_text() == "x"


def write(path: Path) -> None:
    path.write_text("a")


# ---- names


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/hostname", "./model.json", "", "a//b", "a\0b"])
def test_a_manifest_that_names_what_is_no_file_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("x")
    seal(folder, **{name: sha256_file(folder.parent / "secret")})
    refused(folder, UnsafeError, 77, "which is no file of that folder")


# ---- JSON


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 200_000, '{"sha256": {"a": ' + DEEP, '{"sha256": 1, "sha256": {}}'])
@pytest.mark.parametrize("name", [MANIFEST, CARD])
def test_deep_or_doubled_json_is_an_integrity_fault(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    if name != MANIFEST:
        seal(folder)
    refused(folder, IntegrityError, 76, name)


@pytest.mark.parametrize("name", [MANIFEST, CARD])
def test_a_huge_file_is_refused_by_its_size_and_not_read(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as handle:
        handle.truncate(2**31)  # no bytes on the disk
    begun = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match=r"MiB that such a file can have|changed since"):
            load_card(folder) if name == CARD else open_checked(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 60


def test_json_is_read_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, NaN], "b": {"a": "\\u00fc"}}')
    found = read_json(tmp_path / "a.json")
    assert (found["a"][:3], found["b"]) == ([1, 2.5, None], {"a": "ü"})
    with pytest.raises(ValueError, match="'a' stands there twice"):
        parse_json('{"a": 1, "b": {}, "a": 1}')


# ---- sizes


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"num_layers": 16, "width": 2048}, "blocks.1.cell.rnn.bias_hh_l0 missing.* and 203 more; make the model anew"),
        ({"cell": "gru"}, "do not fit model.json"),
        ({"spine": "plain"}, "do not fit model.json"),
        ({"width": 10**6}, "model.width"),
        ({"num_layers": 10**9}, "model.num_layers"),
        ({"context": 10**12, "patch": 10**12}, "model.patch"),
    ],
)
def test_a_network_that_the_weights_are_not_of_is_never_built(
    folder: Path, claim: dict[str, object], words: str
) -> None:
    edit(folder, model=json.loads((folder / CARD).read_text())["model"] | claim)
    before = peak()
    refused(folder, IntegrityError, 76, words)
    assert peak() - before < 200_000  # KB; sixteen layers of 2048 have 4 GB


@pytest.mark.parametrize(
    "claim",
    [
        {"members": 64},
        {"members": 10**9},
        {"horizon": 10**12},
        {"horizon": 512},
        {"periods": [0, 0]},
        {"periods": [4, 10**30]},
        {"tuned_for": 0},
        {"tuned_for": 10**9},
    ],
)
def test_a_claim_of_the_card_that_cannot_be_meant_is_refused(folder: Path, claim: dict[str, object]) -> None:
    edit(folder, **claim)
    refused(folder, IntegrityError, 76, CARD)


def edit(folder: Path, **changes: object) -> None:
    (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | changes))
    seal(folder)


def peak() -> int:
    """KB of memory that this process has had at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("text", [DEEP, "[7]", "{", '{"a": 1, "a": 2}'])
def test_a_training_record_that_is_none_is_an_integrity_fault(folder: Path, text: str) -> None:
    (folder / RECORD).write_text(text)
    seal(folder)
    with pytest.raises(IntegrityError, match=f"{RECORD}: not what was written there"):
        read_record(folder)
