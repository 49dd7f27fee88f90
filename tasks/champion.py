"""Who is champion: looked up, promoted and rolled back, one change at a time, each in the ledger before it happens.

MLflow's aliases know no compare-and-set: of two promoters the later one would win, even with the worse model. So a
move is made under a lock, and only from the champion that the decision was made against.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tqdm import tqdm

from rnn_model.checkpoint import CARD
from rnn_model.errors import BusyError, ConfigError, IntegrityError
from rnn_model.failpoints import failpoint
from tasks.config import TrackingConfig
from tasks.handles import Champion, Decision, Promotion, Run, Version
from tasks.ledger import Entry, Ledger, append, read_ledger
from tasks.registry import (
    ALIAS,
    GONE,
    READY,
    Contents,
    aliased,
    checked,
    find_version,
    ledger_path,
    locked,
    registry_name,
    store,
)
from tasks.step import step
from tasks.tracking import set_tags


@step
def promote_model(
    version: Version, expected: Champion | None, decision: Decision, key: str, config: TrackingConfig, parent: Run
) -> Promotion:
    """As `promote`, against the champion that the decision was made with; the parent run says what became of it."""
    done = promote(version, expected.version if expected else None, decision, key, config)
    tags = {"carryover.promotion": done.result, "carryover.version": f"models:/{version.name}/{version.number}"}
    set_tags(parent, tags)
    return done


@step
def roll_back(name: str, to: int | None, reason: str, config: TrackingConfig) -> Promotion:
    """As `rollback`."""
    return rollback(name, to, reason, config)


def champion(name: str, config: TrackingConfig) -> Champion | None:
    """The model behind NAME@champion, its files and weights checked; None where there never was one.

    A promotion that a kill interrupted is finished or reverted first. Raises IntegrityError for a champion that was
    deleted, lost its alias, or whose files are gone or changed.
    """
    name = registry_name(name)
    with store(config) as client:
        ledger = _read(ledger_path(name, client.tracking_uri))
        if ledger.pending:
            with _changing(client, name) as check:
                ledger = _settled(client, name, check)
        number = aliased(client, name)
        if number is None:
            _refuse_lost(name, ledger)
            return None
        found = _as_promoted(checked(client, name, number, config), ledger, name, number)
        about = {"folder": found.folder, "weights": found.weights, "content": found.content, "notes": found.notes}
        return Champion(name=name, version=number, **about)


def promote(version: Version, expected: int | None, decision: Decision, key: str, config: TrackingConfig) -> Promotion:
    """Move @champion to a version, if the decision says so and `expected` (none: no model) still is champion.

    A run (`key`) that has promoted once does not do so again. Raises IntegrityError for a version that is not READY
    or not what was registered; the champion is then as it was.
    """
    name, number = version.name, version.number
    if not decision.promotes:
        return Promotion(name=name, result="kept", previous=expected, version=expected, sentence=decision.sentence)
    with store(config) as client, _changing(client, name) as check:
        ledger, current = _settled(client, name, check), aliased(client, name)
        if current is None:
            _refuse_lost(name, ledger)
        earlier = ledger.promoted(key)
        if earlier is not None or current == number:
            words = f"this run has promoted version {earlier.version} before" if earlier else "nothing to do"
            return Promotion(name=name, result="already", previous=current, version=current, sentence=words)
        if current != expected:
            words = f"decided against {_title(expected)}, but {_title(current)} is champion by now; compare anew"
            return Promotion(name=name, result="superseded", previous=expected, version=current, sentence=words)
        found = checked(client, name, number, config)
        if found.weights != version.weights:
            raise IntegrityError(
                f"model {name} version {number} holds other weights than what was decided on; compare anew"
            )
        _move(client, ledger, "promote", (current, number), (found, key, decision.sentence), check)
        return Promotion(name=name, result="promoted", previous=current, version=number, sentence=decision.sentence)


def rollback(name: str, to: int | None, reason: str, config: TrackingConfig) -> Promotion:
    """Move @champion to version `to`; none: to the one that was champion before the present one.

    Raises ConfigError where there is no such model or version, IntegrityError where it cannot be used.
    """
    name = registry_name(name)
    with store(config) as client:
        known = [model.name for model in client.search_registered_models()]
        if name not in known:
            raise ConfigError(f"no model {name} is registered; known are: {', '.join(known) or 'none'}")
        return _rolled_back(client, name, to, reason, config)


def _rolled_back(client: MlflowClient, name: str, to: int | None, reason: str, config: TrackingConfig) -> Promotion:
    with _changing(client, name) as check:
        ledger, current = _settled(client, name, check), aliased(client, name)
        number = _before(name, ledger) if to is None else to
        if number == current:
            words = "nothing to do"
            return Promotion(name=name, result="already", previous=current, version=current, sentence=words)
        found = find_version(client, name, number)
        if found is None:
            raise ConfigError(f"model {name} has no version {number} (any more); name another with --version")
        made = _as_promoted(checked(client, name, number, config), ledger, name, number)
        warning = "" if number in [move.version for move in ledger.moves] else _kept_out(found)
        _move(client, ledger, "rollback", (current, number), (made, "", reason), check)
        back = number in [reign.version for reign in ledger.reigns]  # else it was never champion
        result: Literal["rolled back", "moved"] = "rolled back" if back else "moved"
        versions = {"previous": current, "version": number}
        return Promotion(name=name, result=result, **versions, sentence=reason, warning=warning)


def _kept_out(version: ModelVersion) -> str:
    """What the gate said of a version that never was champion, with its figures; empty where it was for it."""
    outcome = version.tags.get("carryover.decision", "")
    if outcome == "promote":
        return ""
    said = f"the gate said {outcome}: {version.tags.get('carryover.sentence', '')}" if outcome else "no gate judged it"
    return f"version {version.version} never was champion; {said}"


def _before(name: str, ledger: Ledger) -> int:
    """The version that was champion before the present one."""
    if len(ledger.reigns) < 2:
        known = f"version {ledger.champion} is its first champion" if ledger.champion else "it never had a champion"
        raise ConfigError(f"model {name} cannot be rolled back: {known}; name a version with --version")
    return ledger.reigns[-2].version


@contextmanager
def _changing(client: MlflowClient, name: str) -> Iterator[Callable[[], None]]:
    """`locked`, for one who moves the alias; the block gets its check.

    Where the lock was lost all the same, and another process wrote what comes next in the ledger, the alias goes back
    to what the ledger says: what this process had announced was ended by the other one.
    """
    path, inside = ledger_path(name, client.tracking_uri), False
    try:
        with locked(path) as check:
            inside = True
            yield check
    except BusyError:
        if inside:
            with locked(path):
                number = _read(path).champion
                if number is not None and aliased(client, name) != number:
                    _set_alias(client, name, number)
        raise


def _move(
    client: MlflowClient,
    ledger: Ledger,
    kind: Literal["promote", "rollback"],
    versions: tuple[int | None, int],
    about: tuple[Contents, str, str],
    check: Callable[[], None],
) -> None:
    """Announce, set the alias, read it back, say that it is done; the caller holds the lock, which `check` looks after.

    A kill in between leaves the announcement, which `_settled` finds. `versions` are from and to, `about` what the
    version consists of, the run's key and the reason.
    """
    (previous, version), (made, key, sentence) = versions, about
    fields = {"weights": made.weights, "content": made.content, "key": key, "sentence": sentence}
    ledger = append(ledger, kind=kind, previous=previous, version=version, **fields)
    name = ledger.path.name.removesuffix(".ledger.jsonl")
    check()
    failpoint("move announced")
    found = _set_alias(client, name, version)
    failpoint("alias set")
    if found == version:
        _end(ledger, "done")
        return
    if found is None and previous is not None:  # MLflow drops an alias with its version: the old one goes on
        _set_alias(client, name, previous)
    _end(ledger, "reverted")
    raise IntegrityError(
        f"model {name}: @{ALIAS} reads {_title(found)} after it was moved to version {version}; look who else moves it"
    )


def _set_alias(client: MlflowClient, name: str, version: int) -> int | None:
    """Set the alias and read it back; a version that was deleted meanwhile leaves things as they are."""
    try:
        client.set_registered_model_alias(name, ALIAS, str(version))
    except MlflowException as error:
        if error.error_code != GONE:
            raise
    return aliased(client, name)


def _settled(client: MlflowClient, name: str, check: Callable[[], None]) -> Ledger:
    """The ledger with no end open and up to the alias as it stands; the caller holds the lock, as in `_move`.

    A move that was announced before a kill is finished, unless the alias went elsewhere or its version is no more.
    """
    ledger, current = _read(ledger_path(name, client.tracking_uri)), aliased(client, name)
    pending = ledger.pending
    if pending is not None:
        if current == pending.previous and _usable(client, name, pending.version):
            check()
            current = _set_alias(client, name, pending.version)
        ledger = _end(ledger, "done" if current == pending.version else "reverted")
    if current is not None and current != ledger.champion:
        found = find_version(client, name, current)
        weights, content = (found.tags.get(f"carryover.{tag}", "") if found else "" for tag in ("weights", "content"))
        ledger = append(
            ledger,
            kind="outside",
            previous=ledger.champion,
            version=current,
            weights=weights,
            content=content,
            key="",
            sentence=f"@{ALIAS} was found moved",
        )
    return ledger


def _read(path: Path) -> Ledger:
    """A ledger; that its last line was cut short is told."""
    ledger = read_ledger(path)
    if ledger.cut:
        _tell_cut(path, ledger.size)
    return ledger


@cache  # once is enough
def _tell_cut(path: Path, size: int) -> None:
    words = f"{path}: the line after byte {size} was cut short by a kill; it does not count and will be replaced"
    logging.getLogger("carryover").warning(words)
    tqdm.write(words, file=sys.stderr)


def _end(ledger: Ledger, kind: Literal["done", "reverted"]) -> Ledger:
    """Say how the announced move ended."""
    announced: Entry = ledger.entries[-1]
    about = announced.model_dump(include={"previous", "version", "weights", "content", "key", "sentence"})
    return append(ledger, kind=kind, **about)


def _as_promoted(made: Contents, ledger: Ledger, name: str, number: int) -> Contents:
    """What a version consists of, if it is what it was when it became champion. Raises IntegrityError."""
    content = ledger.content(number)
    if content and content != made.content:
        raise IntegrityError(
            f"model {name} version {number}: its weights or its {CARD} are not those that {ledger.place} knows; put "
            f"its files back, or carryover rollback --name {name}"
        )
    return made


def _usable(client: MlflowClient, name: str, number: int) -> bool:
    found = find_version(client, name, number)
    return found is not None and found.status == READY


def _refuse_lost(name: str, ledger: Ledger) -> None:
    """Raise IntegrityError for a champion that the ledger knows and the registry does not: someone deleted it."""
    if ledger.champion is not None:
        raise IntegrityError(
            f"model {name}: @{ALIAS} is gone, {ledger.place} knows version {ledger.champion} as champion; "
            f"carryover rollback --name {name} --version N names one, or move the ledger away if the store is new"
        )


def _title(version: int | None) -> str:
    return "no model" if version is None else f"version {version}"
