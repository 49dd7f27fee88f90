"""Only a decision moves @champion, once and against the present one, and nothing that is damaged becomes it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from shelf import NO, YES, Shelf

from rnn_model.artefact import held
from rnn_model.checkpoint import load_model, weights_digest
from rnn_model.errors import BusyError, ConfigError, IntegrityError, ServiceError
from tasks import champion as champions
from tasks import registry
from tasks.champion import champion, promote, rollback
from tasks.ledger import Ledger
from tasks.registry import ledger_path
from tasks.tracking import fetch_model

# ---- promotion


def test_the_first_promotion_makes_a_champion(shelf: Shelf) -> None:
    assert shelf.champion is None
    assert shelf.promote(1, None) == "promoted"
    found = champion(shelf.name, shelf.config)
    assert found is not None
    assert (found.version, found.weights) == (1, shelf.logged[0][1].weights)


def test_the_models_address_leads_to_the_champions_folder(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    folder = fetch_model(f"models:/{shelf.name}@champion", shelf.config)
    assert weights_digest(load_model(folder)[0]) == shelf.logged[1][1].weights


def test_only_the_decision_to_promote_moves_the_champion(shelf: Shelf) -> None:
    shelf.promote(1, None)
    kept = promote(shelf.register(2), 1, NO, "night 2", shelf.config)
    assert (kept.result, kept.version, kept.sentence) == ("kept", 1, NO.sentence)
    assert shelf.champion == 1


def test_a_decision_against_another_champion_is_superseded(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    late = promote(shelf.register(3), 1, YES, "late", shelf.config)
    assert (late.result, late.version) == ("superseded", 2)
    assert "decided against version 1, but version 2 is champion by now" in late.sentence
    assert shelf.champion == 2
    assert promote(shelf.register(3), None, YES, "late", shelf.config).result == "superseded"


def test_the_same_run_promotes_once(shelf: Shelf) -> None:
    shelf.promote(1, None, key="a")
    before = shelf.ledger
    assert shelf.promote(1, None, key="a") == "already"
    assert shelf.ledger == before
    rollback_to = shelf.promote(2, 1, key="b")
    assert rollback_to == "promoted"
    rollback(shelf.name, None, "complaints", shelf.config)
    assert shelf.promote(2, 1, key="b") == "already"
    assert shelf.champion == 1


def test_every_promotion_is_announced_and_ended_in_the_ledger(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    assert [(e.kind, e.previous, e.version) for e in shelf.ledger.entries] == [
        ("promote", None, 1),
        ("done", None, 1),
        ("promote", 1, 2),
        ("done", 1, 2),
    ]
    assert [(e.weights, e.key, e.sentence) for e in shelf.ledger.moves] == [
        (shelf.logged[n][1].weights, f"night {n + 1}", YES.sentence) for n in range(2)
    ]


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_a_version_that_is_not_ready_is_never_promoted(shelf: Shelf, status: str) -> None:
    version = shelf.register(1)
    shelf.execute(f"update model_versions set status = '{status}' where name = '{shelf.name}'")
    with pytest.raises(IntegrityError, match=f"reads {status}, not READY"):
        promote(version, None, YES, "night", shelf.config)
    assert shelf.champion is None
    assert shelf.register(1).number == 2  # registered anew


def test_a_version_deleted_while_it_is_promoted_leaves_the_champion(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.succession(1)
    version = shelf.register(2)
    real = champions._set_alias

    def meanwhile(client: MlflowClient, name: str, number: int) -> int | None:
        if number == version.number:
            client.delete_model_version(name, str(number))
        return real(client, name, number)

    monkeypatch.setattr(champions, "_set_alias", meanwhile)
    with pytest.raises(IntegrityError, match="reads version 1 after it was moved to version 2"):
        promote(version, 1, YES, "night 2", shelf.config)
    assert shelf.champion == 1
    assert shelf.ledger.champion == 1


def test_a_promotion_waits_for_the_lock_and_says_who_has_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    version = shelf.register(1)
    monkeypatch.setattr(registry, "WAIT_SECONDS", 0.1)
    path = ledger_path(shelf.name, str(shelf.config.uri))
    with held(path.with_name(shelf.name)), pytest.raises(BusyError, match="process"):
        promote(version, None, YES, "night", shelf.config)
    assert promote(version, None, YES, "night", shelf.config).result == "promoted"


@contextmanager
def lost_lock(_: Path) -> Iterator[Callable[[], None]]:
    """What a lock is whose loss the check has not seen."""
    yield lambda: None


def test_a_promotion_made_while_the_lock_was_lost_stands(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the alias another process ends what was announced, and promotes its own."""
    shelf.succession(1)
    mine, theirs = shelf.register(2), shelf.register(3)
    set_alias, store = champions._set_alias, Ledger.store

    def once(ledger: Ledger, seq: int, line: bytes) -> None:
        """As the database, which keeps each number once."""
        if ledger.stored().count(b"\n") >= seq:
            raise BusyError(f"line {seq} is there")
        store(ledger, seq, line)

    def meanwhile(client: MlflowClient, name: str, number: int) -> int | None:
        monkeypatch.setattr(champions, "_set_alias", set_alias)
        assert promote(theirs, 2, YES, "theirs", shelf.config).result == "promoted"
        return set_alias(client, name, number)

    monkeypatch.setattr(champions, "locked", lost_lock)
    monkeypatch.setattr(champions, "_set_alias", meanwhile)
    monkeypatch.setattr(Ledger, "store", once)
    with pytest.raises(BusyError):
        promote(mine, 1, YES, "mine", shelf.config)
    assert shelf.champion == 3
    assert [(e.kind, e.version) for e in shelf.ledger.moves] == [("promote", 1), ("promote", 2), ("promote", 3)]


def test_the_alias_is_left_alone_once_the_lock_is_lost(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.succession(1)
    version = shelf.register(2)

    @contextmanager
    def lost(_: Path) -> Iterator[Callable[[], None]]:
        def check() -> None:
            raise ServiceError("lost")

        yield check

    with monkeypatch.context() as patch:
        patch.setattr(champions, "locked", lost)
        with pytest.raises(ServiceError):
            promote(version, 1, YES, "night 2", shelf.config)
    assert registry.aliased(shelf.client, shelf.name) == 1
    assert shelf.champion == 2  # the next one finishes what was announced


def test_a_champion_moved_by_hand_is_noted_and_kept(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    shelf.client.set_registered_model_alias(shelf.name, "champion", "1")
    assert shelf.champion == 1
    assert shelf.promote(3, 1) == "promoted"
    assert [(e.kind, e.version) for e in shelf.ledger.moves][-2:] == [("outside", 1), ("promote", 3)]


def test_a_ledgers_line_that_was_cut_short_is_told_once(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.succession(1)
    with shelf.ledger.path.open("ab") as ledger:
        ledger.write(b'{"seq": 3')
    assert [shelf.champion, shelf.champion] == [1, 1]
    assert capsys.readouterr().err.count("was cut short by a kill; it does not count") == 1


# ---- a champion that is not what it was


def damage_weights(shelf: Shelf) -> Callable[[], None]:
    path = fetch_model(f"models:/{shelf.name}@champion", shelf.config) / "weights.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    return lambda: path.write_bytes(good) and None  # type: ignore[func-returns-value]


def take_files_away(shelf: Shelf) -> Callable[[], None]:
    folder = fetch_model(f"models:/{shelf.name}@champion", shelf.config).parents[1]
    aside = folder.with_name("aside")
    folder.rename(aside)
    return lambda: aside.rename(folder) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("harm", [damage_weights, take_files_away])
def test_a_champion_whose_files_are_not_what_they_were_is_an_error(
    shelf: Shelf, harm: Callable[[Shelf], Callable[[], None]]
) -> None:
    shelf.succession(1)
    mend = harm(shelf)
    try:
        with pytest.raises(IntegrityError) as raised:
            _ = shelf.champion
    finally:
        mend()
    assert "\n" not in str(raised.value)
    assert shelf.champion == 1


def test_a_champion_whose_weights_are_not_those_registered_is_an_error(shelf: Shelf) -> None:
    shelf.succession(1)
    shelf.client.set_model_version_tag(shelf.name, "1", "carryover.weights", "f" * 64)
    with pytest.raises(IntegrityError, match="was registered with ffffffffffff"):
        _ = shelf.champion


def test_a_deleted_champion_is_an_error_until_another_is_named(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    shelf.client.delete_model_version(shelf.name, "2")
    with pytest.raises(IntegrityError, match="knows version 2 as champion"):
        _ = shelf.champion
    with pytest.raises(IntegrityError, match="knows version 2 as champion"):
        shelf.promote(3, None)
    assert rollback(shelf.name, None, "deleted", shelf.config).version == 1
    assert shelf.champion == 1


def test_an_alias_that_points_to_nothing_is_an_error(shelf: Shelf) -> None:
    shelf.succession(1)
    shelf.execute(f"update registered_model_aliases set version = 99 where name = '{shelf.name}'")
    with pytest.raises(IntegrityError, match="version 99: deleted from the registry"):
        _ = shelf.champion


def test_a_champion_in_a_ledger_that_was_changed_is_an_error(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    shelf.ledger.path.write_bytes(shelf.ledger.path.read_bytes().replace(b"4% better", b"9% better"))
    with pytest.raises(IntegrityError, match="line 1 is not what was written"):
        _ = shelf.champion


# ---- rollback


def test_rollback_goes_to_the_champion_before(shelf: Shelf) -> None:
    shelf.succession(1, 2, 3)
    done = rollback(shelf.name, None, "complaints", shelf.config)
    assert (done.result, done.previous, done.version) == ("rolled back", 3, 2)
    assert rollback(shelf.name, None, "more", shelf.config).version == 1
    assert shelf.champion == 1
    assert [(e.version, e.sentence) for e in shelf.ledger.moves if e.kind == "rollback"] == [
        (2, "complaints"),
        (1, "more"),
    ]


def test_rollback_to_a_version_by_number(shelf: Shelf) -> None:
    shelf.succession(1, 2, 3)
    assert rollback(shelf.name, 1, "the first one", shelf.config).version == 1
    assert rollback(shelf.name, 1, "again", shelf.config).result == "already"
    onward = rollback(shelf.name, 3, "after all", shelf.config)
    assert (onward.result, onward.version) == ("moved", 3)  # it is no reign to go back to any more


def test_a_version_that_the_gate_kept_out_is_put_in_with_what_the_gate_had_said(shelf: Shelf) -> None:
    shelf.succession(1)
    shelf.register(2, NO)
    done = rollback(shelf.name, 2, "by hand", shelf.config)
    assert (done.result, done.version, shelf.champion) == ("moved", 2, 2)
    assert done.warning == f"version 2 never was champion; the gate said not enough evidence: {NO.sentence}"
    assert rollback(shelf.name, 1, "back", shelf.config).warning == ""
    assert rollback(shelf.name, 2, "by hand again", shelf.config).warning == ""  # it has been champion since
    shelf.register(3, YES)
    assert rollback(shelf.name, 3, "the gate was for it", shelf.config).warning == ""


@pytest.mark.parametrize(
    ("succession", "to", "words"),
    [
        ((), None, "no model .* is registered; known are: "),
        ((1,), None, "version 1 is its first champion"),
        ((1, 2), 7, "has no version 7"),
    ],
)
def test_a_rollback_that_leads_nowhere_is_refused(
    shelf: Shelf, succession: tuple[int, ...], to: int | None, words: str
) -> None:
    shelf.succession(*succession)
    with pytest.raises(ConfigError, match=words):
        rollback(shelf.name, to, "why", shelf.config)
    assert shelf.champion == (succession[-1] if succession else None)


def test_a_model_that_never_was_champion_cannot_be_rolled_back(shelf: Shelf) -> None:
    shelf.register(1)
    with pytest.raises(ConfigError, match="it never had a champion"):
        rollback(shelf.name, None, "why", shelf.config)


def test_a_ledger_can_be_read_by_any_program(shelf: Shelf) -> None:
    shelf.succession(1)
    first = json.loads(shelf.ledger.path.read_text().splitlines()[0])
    assert {"seq", "time", "previous", "version", "weights", "key", "sentence", "before"} <= set(first)
