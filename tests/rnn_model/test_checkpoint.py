"""A model folder: back to the bit, or refused with a reason."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rnn_model import checkpoint
from rnn_model.artefact import MANIFEST, sha256_file
from rnn_model.checkpoint import CARD, FORMAT, WEIGHTS, ModelCard, load_card, load_model, save_model, weights_digest
from rnn_model.errors import IntegrityError, UnsafeError, WriteError
from rnn_model.forecasting import predict
from rnn_model.network import Network

Build = Callable[..., Network]
HISTORY = torch.linspace(0, 1, 32, dtype=torch.float64).square()[None]
PERIODS = torch.tensor([[4, 4]])


def card(network: Network) -> ModelCard:
    return ModelCard(
        model=network.config,
        freq="MS",
        periods=(4, 12),
        horizon=network.horizon,
        strategy="full",
        lineage={"source": "abc"},
    )


@pytest.fixture
def network(lively: Build) -> Network:
    return lively()


@pytest.fixture
def folder(network: Network, tmp_path: Path) -> Path:
    return save_model(network, card(network), tmp_path / "model", {"best_step": 3})


def seal(folder: Path) -> None:
    """Make the manifest true again, so that what lies behind it has to find the fault."""
    files = {p.name: sha256_file(p) for p in folder.iterdir() if p.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"sha256": files}))


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(IntegrityError) as raised:
        load_model(folder)
    assert raised.value.exit_code == 76
    assert [word for word in words if word not in str(raised.value)] == []


# ---- round trip


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_loaded_network_predicts_bit_equal(lively: Build, tmp_path: Path, spine: str, cell: str) -> None:
    network = lively(spine=spine, cell=cell)
    if spine == "plain":
        network.residual_spread[:] = torch.linspace(0.1, 2, 8)
    loaded, _ = load_model(save_model(network, card(network), tmp_path / "model"))
    assert torch.equal(predict(loaded, HISTORY, PERIODS, 12), predict(network, HISTORY, PERIODS, 12))
    assert weights_digest(loaded) == weights_digest(network)


def test_the_card_comes_back_as_it_was(network: Network, folder: Path) -> None:
    assert load_model(folder)[1] == card(network) == load_card(folder)


def test_a_loaded_network_is_in_evaluation_mode(folder: Path) -> None:
    assert not load_model(folder)[0].training


def test_what_the_training_did_stands_beside_the_weights(folder: Path) -> None:
    assert json.loads((folder / "training.json").read_text()) == {"best_step": 3}


def test_loading_leaves_the_global_random_state_alone(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_digest_sees_one_flipped_bit_of_one_weight(network: Network) -> None:
    before = weights_digest(network)
    with torch.no_grad():
        network.readout.bias.view(torch.int32)[0] ^= 1
    assert weights_digest(network) != before


# ---- damage


@pytest.mark.parametrize("name", [WEIGHTS, CARD, "training.json"])
def test_one_changed_byte_is_refused_by_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    refused(folder, name, "not what manifest.json lists")


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("size", ["0", "10", "half", "all but 1"])
@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_a_truncated_file_is_refused(folder: Path, name: str, size: str, sealed: bool) -> None:
    whole = (folder / name).stat().st_size
    os.truncate(folder / name, {"0": 0, "10": 10, "half": whole // 2, "all but 1": whole - 1}[size])
    if sealed:
        seal(folder)
    refused(folder, name)


@pytest.mark.parametrize("name", [WEIGHTS, CARD, MANIFEST])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


def test_a_file_that_no_manifest_lists_is_refused_by_name(folder: Path) -> None:
    (folder / "stranger.txt").write_text("hello")
    refused(folder, "stranger.txt", "not what manifest.json lists")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": null}', '{"sha256": ["model.json"]}', "\x00"])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    refused(folder, MANIFEST)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    seal(folder)


def test_a_missing_weight_is_refused_by_name(folder: Path) -> None:
    rewrite(folder, lambda w: w.pop("up.bias"))
    refused(folder, "up.bias")


def test_an_extra_weight_is_refused_by_name(folder: Path) -> None:
    rewrite(folder, lambda w: w.update(stranger=torch.zeros(2)))
    refused(folder, "stranger")


def test_a_weight_of_another_shape_is_refused_with_both_shapes(folder: Path) -> None:
    rewrite(folder, lambda w: w.update({"up.bias": torch.zeros(3)}))
    refused(folder, "up.bias", "(3,)", "(32,)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(folder: Path, value: float) -> None:
    rewrite(folder, lambda w: w["up.bias"].fill_(value))
    refused(folder, "not finite")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"card"', '{"format": "1"}', '{"format": 1}', "{"])
def test_a_card_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / CARD).write_text(text)
    seal(folder)
    refused(folder, CARD)


def edit_card(folder: Path, **changes: object) -> None:
    (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | changes))
    seal(folder)


def test_a_model_made_from_one_of_an_older_format_is_written_in_the_present_one(
    lively: Callable[..., Network], tmp_path: Path
) -> None:
    network = lively()
    old = card(network).model_copy(update={"format": 1})
    assert load_card(save_model(network, old, tmp_path / "model")).format == FORMAT


def test_a_newer_format_is_refused_with_both_versions(folder: Path) -> None:
    edit_card(folder, format=FORMAT + 1)
    refused(folder, f"format {FORMAT + 1}", f"up to {FORMAT}")


def test_a_card_with_an_unknown_entry_is_refused(folder: Path) -> None:
    edit_card(folder, code="rm -rf /")
    refused(folder, CARD)


def test_a_card_of_another_network_is_refused(folder: Path) -> None:
    edit_card(folder, horizon=64)
    refused(folder, "embed_position")


class Payload:
    """Unpickling this creates the marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("write", [lambda o, p: p.write_bytes(pickle.dumps(o)), torch.save], ids=["pickle", "torch"])
@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_a_pickle_is_refused_and_does_not_run(
    folder: Path, tmp_path: Path, name: str, write: Callable[[object, Path], None]
) -> None:
    marker = tmp_path / "ran"
    write({"up.bias": Payload(marker)}, folder / name)
    seal(folder)
    with pytest.raises(UnsafeError, match=f"{name}: a pickle, which runs code") as raised:
        load_model(folder)
    assert raised.value.exit_code == 77
    assert not marker.exists()
    if name == WEIGHTS and write is not torch.save:
        pickle.loads((folder / name).read_bytes())
        assert marker.exists()  # so the payload was a live one


# ---- writing


def test_a_full_disk_leaves_no_folder_and_is_named(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(WriteError, match="No space left") as raised:
        save_model(network, card(network), tmp_path / "m" / "model")
    assert raised.value.exit_code == 73
    assert list((tmp_path / "m").iterdir()) == []


def test_nothing_is_written_by_pickle(folder: Path) -> None:
    assert {p.suffix for p in folder.iterdir()} == {".json", ".safetensors"}
    assert not any(p.read_bytes().startswith((b"\x80", b"PK")) for p in folder.iterdir())
