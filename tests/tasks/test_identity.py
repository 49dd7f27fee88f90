"""A registered model is used as it was registered, or not at all: its weights, and all that its card says."""

import json
from pathlib import Path
from typing import Any

import pytest
from batch_maker import GOOD, HORIZON, Make, card
from shelf import YES, Shelf

from rnn_model.artefact import MANIFEST, sha256_file
from rnn_model.calibration import Calibration
from rnn_model.checkpoint import CARD, RECORD, content_digest, load_card, load_known, load_model, save_model
from rnn_model.errors import IntegrityError
from rnn_model.network import build_network
from tasks.champion import rollback
from tasks.forecast import pin
from tasks.handles import Model
from tasks.ledger import Entry, append, read_ledger
from tasks.tracking import fetch_model

FACTORS = (0.5,) * 4 + (1.0,) + (0.5,) * 4
EDITS: dict[str, dict[str, Any]] = {
    "seasons": {"periods": [6, 364]},
    "calibration": {"calibration": Calibration(factors=(FACTORS,), until=(4,), note="x").model_dump(mode="json")},
    "series it has seen": {"seen": {"a": "2031-01-01"}},
    "gaps": {"gaps": "zero"},
    "horizon it was tuned for": {"tuned_for": 2},
    "frequency": {"freq": "any"},
    "strategy": {"strategy": "pretrain"},
    "parent": {"lineage": {}},
    "format": {"format": 1},
}


def edit(folder: Path, **changes: object) -> None:
    """Change a card and make the manifest true again."""
    (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | changes))
    files = {p.name: sha256_file(p) for p in folder.iterdir() if p.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"sha256": files}))


@pytest.fixture
def champions(shelf: Shelf) -> Any:
    """The folder in which the champion's files lie, put back afterwards as others use it too."""
    shelf.succession(1)
    folder = fetch_model(f"models:/{shelf.name}@champion", shelf.config)
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    yield folder
    for path, data in kept.items():
        path.write_bytes(data)


@pytest.mark.parametrize("changes", EDITS.values(), ids=list(EDITS))
@pytest.mark.parametrize("name", ["champion", "models:/{}@champion", "models:/{}/1"])
def test_a_champion_whose_card_was_edited_with_its_manifest_is_refused(
    shelf: Shelf, champions: Path, name: str, changes: dict[str, Any]
) -> None:
    pin(name.format(shelf.name), shelf.name, shelf.config)
    edit(champions, **changes)
    load_model(champions)  # by itself it is whole
    with pytest.raises(IntegrityError, match=f"model {shelf.name} version 1: its model.json is not the one") as raised:
        pin(name.format(shelf.name), shelf.name, shelf.config)
    assert raised.value.exit_code == 76


def test_a_record_of_the_training_may_not_be_edited_either_without_the_manifest(shelf: Shelf, champions: Path) -> None:
    (champions / RECORD).write_text('{"best_step": 9}')
    with pytest.raises(IntegrityError, match=f"{RECORD} changed since it was written"):
        pin("champion", shelf.name, shelf.config)


def test_a_champion_edited_together_with_its_tag_is_found_by_the_ledger(shelf: Shelf, champions: Path) -> None:
    edit(champions, periods=[6, 364])
    shelf.client.set_model_version_tag(shelf.name, "1", "carryover.content", content_digest(champions))
    with pytest.raises(IntegrityError, match=r"not those that .*ledger.jsonl knows"):
        pin("champion", shelf.name, shelf.config)


def test_a_rollback_to_an_edited_version_is_refused(shelf: Shelf, champions: Path) -> None:
    assert shelf.promote(2, 1) == "promoted"
    edit(champions, gaps="zero")
    with pytest.raises(IntegrityError, match=r"version 1: its model\.json is not the one"):
        rollback(shelf.name, 1, "x", shelf.config)
    assert shelf.champion == 2


def test_a_version_from_before_is_known_by_its_identity_and_says_what_is_not_checked(
    shelf: Shelf, champions: Path
) -> None:
    shelf.client.delete_model_version_tag(shelf.name, "1", "carryover.content")
    pinned = pin(f"models:/{shelf.name}/1", shelf.name, shelf.config)
    assert [note.partition(":")[2] for note in pinned.notes] == [" which series it has seen is not checked"]
    edit(champions, periods=[6, 364])
    with pytest.raises(IntegrityError, match="says other periods"):
        pin(f"models:/{shelf.name}/1", shelf.name, shelf.config)


def test_a_version_with_neither_is_known_by_its_weights_and_says_so(shelf: Shelf, champions: Path) -> None:
    for tag in ("content", "identity"):
        shelf.client.delete_model_version_tag(shelf.name, "1", f"carryover.{tag}")
    (note,) = pin(f"models:/{shelf.name}/1", shelf.name, shelf.config).notes
    assert note.endswith("of its model.json nothing is checked")


def test_a_run_whose_model_was_edited_is_refused(shelf: Shelf, champions: Path) -> None:
    uri = shelf.logged[0][0]
    run_id = str(shelf.client.get_logged_model(uri.removeprefix("models:/")).source_run_id)
    shelf.client.set_tag(run_id, "carryover.content", content_digest(champions))
    shelf.client.set_tag(run_id, "carryover.model", uri)
    pin(uri, shelf.name, shelf.config)
    edit(champions, seen={"a": "2031-01-01"})
    with pytest.raises(IntegrityError, match=r"model 'models:/m-\w+': its files are not those that its run logged"):
        pin(uri, shelf.name, shelf.config)


def test_what_a_version_consists_of_is_a_tag_and_in_the_ledger(shelf: Shelf, champions: Path) -> None:
    content = content_digest(champions)
    assert shelf.client.get_model_version(shelf.name, "1").tags["carryover.content"] == content
    assert [entry.content for entry in shelf.ledger.entries] == [content] * 2


def test_a_ledger_from_before_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "sales.ledger.jsonl"
    fields = {"previous": None, "version": 1, "weights": "w", "key": "k", "sentence": "why"}
    ledger = append(append(read_ledger(path), kind="promote", **fields), kind="done", **fields)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line.pop("content") for line in lines} == {""}
    old = Entry.model_validate(lines[0])  # a line that has no such field
    assert (old.sealed().digest, old) == (lines[0]["digest"], ledger.entries[0])
    assert read_ledger(path).content(1) == ""
    newer = append(append(ledger, kind="promote", **fields, content="c"), kind="done", **fields, content="c")
    assert read_ledger(path) == newer
    assert newer.content(1) == "c"


def test_a_model_that_is_changed_while_its_batch_is_made_is_refused(make: Make, model: Path, target: Any) -> None:
    from tasks.config import TrackingConfig

    pinned = pin(str(model), "sales", TrackingConfig())
    edit(model, tuned_for=2)
    with pytest.raises(IntegrityError, match=r"its model\.json changed since this began"):
        make(GOOD, pinned=pinned)


def test_of_an_ensemble_every_member_counts(tmp_path: Path) -> None:
    own = card()
    one, other = (build_network(own.model, HORIZON, seed, members=2) for seed in (1, 2))
    digests = []
    for n, network in enumerate((one, other)):
        folder = save_model(network, own, tmp_path / str(n))
        assert load_card(folder).members == 2
        digests.append(content_digest(folder))
    other.members[0].load_state_dict(one.members[0].state_dict())  # the second member alone differs
    assert len({*digests, content_digest(save_model(other, own, tmp_path / "half"))}) == 3


def test_registering_another_model_than_was_judged_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    from tasks.registry import register

    uri, judged = shelf.logged[0]
    with pytest.raises(IntegrityError, match="has another card than"):
        register(shelf.name, uri, judged.model_copy(update={"content": "f" * 64}), YES, "night", shelf.config)


def test_a_backtest_of_a_changed_model_is_refused(model: Path) -> None:
    from rnn_model.checkpoint import weights_digest

    network, _ = load_model(model)
    known = Model(
        folder=model, weights=weights_digest(network), content=content_digest(model), strategy="full", context=16
    )
    edit(model, periods=[6, 364])
    with pytest.raises(IntegrityError, match="changed since this began"):
        load_known(known.folder, known.weights, known.content)
