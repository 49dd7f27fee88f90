"""Versions of registered models: what is known of each, one per weights, and the lock under which they change."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import BaseModel

from rnn_model.artefact import digest_json, held
from rnn_model.checkpoint import CARD, ModelCard, content_digest, load_model, weights_digest
from rnn_model.errors import BusyError, ConfigError, IntegrityError, ServiceError
from rnn_model.failpoints import failpoint
from tasks import team
from tasks.addresses import find_number
from tasks.config import TrackingConfig, home
from tasks.connection import connected, masked
from tasks.handles import Decision, Model, Version
from tasks.ledger import read_ledger
from tasks.machine import CODE, code_digest
from tasks.servers import store_behind
from tasks.step import step
from tasks.tracking import fetch_model

ALIAS = "champion"
READY = "READY"
NAME_LIMIT = 80  # characters: the name is also that of files
RESERVED = re.compile(
    r"latest|v\d+|m-.*", re.IGNORECASE
)  # aliases that MLflow keeps, and what its model ids begin with
TABLE_LIMIT = 5000  # characters of a tag that servers of every release take; a longer table goes to the run's artifacts
TABLE = "gate/decision.json"
WAIT_SECONDS = 60.0  # a promotion takes a second or two
GONE = "RESOURCE_DOES_NOT_EXIST"


class Contents(NamedTuple):
    """What lies in a model folder: digest of its weights, digest of weights and card, the card; and what could not be
    checked of it, in words."""

    folder: Path
    weights: str
    content: str
    card: ModelCard
    notes: tuple[str, ...] = ()


@step
def register_model(name: str, uri: str, model: Model, decision: Decision, key: str, config: TrackingConfig) -> Version:
    """As `register`."""
    return register(name, uri, model, decision, key, config)


def register(name: str, uri: str, model: Model, decision: Decision, key: str, config: TrackingConfig) -> Version:
    """A logged model (models:/m-...) as a version of a registered one, with where it comes from and what was decided.

    Equal weights that predict alike have one version: asked again, that one is returned, with the new decision unless
    it is the champion. `key` names the run (`run_key`). Raises IntegrityError for a model that is not READY, or whose
    weights are not those of `model`.
    """
    name = registry_name(name)
    with store(config) as client, locked(ledger_path(name, client.tracking_uri)) as check:
        logged = client.get_logged_model(uri.removeprefix("models:/"))
        if str(logged.status) != READY:
            raise IntegrityError(
                f"model {uri} reads {logged.status}, not {READY}; run the pipeline again to log it anew"
            )
        found = contents(fetch_model(uri, config))
        if found.weights != model.weights:
            raise IntegrityError(
                f"model {uri} holds weights {found.weights[:12]}, {model.folder} {model.weights[:12]}; log it anew"
            )
        if model.content and found.content != model.content:
            raise IntegrityError(f"model {uri} has another card than {model.folder} had; log it anew")
        decided = _decision_tags(client, decision, logged.source_run_id)
        origin = _origin_tags(found, key)
        known = _same(client, name, origin["carryover.identity"])
        if known is None:
            _make_model(client, name)
            about = {"tags": origin | decided, "description": decision.sentence}
            check()
            known = client.create_model_version(name, uri, logged.source_run_id, model_id=logged.model_id, **about)
            failpoint("version made")
        elif aliased(client, name) != int(known.version):
            for tag, text in decided.items():
                client.set_model_version_tag(name, str(known.version), tag, text)
        check_ready(known)
        return Version(name=name, number=int(known.version), uri=str(known.source), weights=found.weights)


def registry_name(target: str) -> str:
    """A target's name as a registered model's: letters, digits, - and _, no word that MLflow keeps for itself.

    A name that has to be changed gets a digest of the original, so that two targets never share one.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", target)
    if plain and plain == target and len(plain) <= NAME_LIMIT and not RESERVED.fullmatch(plain):
        return plain
    head = re.sub("^m-", "m_", plain, flags=re.IGNORECASE)[: NAME_LIMIT - 9].strip("-") or "target"
    return f"{head}-{hashlib.sha256(target.encode()).hexdigest()[:8]}"


def run_key(data: str, sections: Mapping[str, Any]) -> str:
    """What a run is known by: data (`Dataset.content`), settings (but where they are logged) and code."""
    plain = {k: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for k, v in sections.items()}
    plain.pop("tracking", None)
    return digest_json([data, plain, code_digest(*CODE)])


@contextmanager
def store(config: TrackingConfig) -> Iterator[MlflowClient]:
    """A client for a `with` block; a store that fails within it is a ServiceError (69)."""
    with connected(config) as client:
        try:
            yield client
        except MlflowException as error:
            where = masked(client.tracking_uri)
            raise ServiceError(f"MLflow at {where} failed ({error.error_code}); run it again") from error


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """The right to change a registered model, given its ledger; waits for others. Raises BusyError after a minute.

    The lock is this machine's, and with $CARRYOVER_DATABASE also that of all machines that share the database. That one
    can be lost: the block gets a check (as `team.locked`), which does nothing where the lock is this machine's alone.
    """
    lock = path.with_name(path.name.removesuffix(".ledger.jsonl"))
    deadline = time.monotonic() + WAIT_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(lock))
                break
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if team.is_shared():
            yield stack.enter_context(team.locked(f"{lock.parent.name}/{lock.name}", deadline))
        else:
            yield lambda: None


def ledger_path(name: str, uri: str) -> Path:
    """Where the ledger of a registered model stands: under registry/ for the data folder's own store, else in a
    folder of the store's there, as versions of two stores have nothing to do with each other."""
    folder = home() / "registry"
    if team.is_shared():
        folder /= store_id(uri)
    elif masked(store_behind(uri)) != f"sqlite:///{home() / 'mlflow.db'}":
        folder /= hashlib.sha256(masked(uri).encode()).hexdigest()[:12]
    return folder / f"{name}.ledger.jsonl"


def store_id(uri: str) -> str:
    """What a store is known by on every machine, under whatever address: the moment its first experiment was made,
    as a person may give that one another name."""
    return hashlib.sha256(str(MlflowClient(uri).get_experiment("0").creation_time).encode()).hexdigest()[:12]


def aliased(client: MlflowClient, name: str) -> int | None:
    """The version behind NAME@champion; None where nothing is."""
    try:
        number = client.get_registered_model(name).aliases.get(ALIAS)
    except MlflowException as error:
        if error.error_code == GONE:
            return None
        raise
    return None if number is None else int(number)


def find_version(client: MlflowClient, name: str, number: int) -> ModelVersion | None:
    """A version; None where it does not exist, or not any more."""
    try:
        return client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code == GONE:
            return None
        raise


def named_version(client: MlflowClient, name: str, place: str | None, alias: str | None) -> int:
    """As `find_number`; a version that the ledger knows and the registry does not was deleted, which `checked` says."""
    moves = read_ledger(ledger_path(name, client.tracking_uri)).moves
    if place is not None and place in [str(move.version) for move in moves]:
        return int(place)
    return find_number(client, name, place, alias)


def checked(client: MlflowClient, name: str, number: int, config: TrackingConfig) -> Contents:
    """What a version that may be used consists of.

    Raises IntegrityError where it is deleted, not READY, its files are gone or changed, or its weights or its card are
    not those it was registered with.
    """
    found, title = find_version(client, name, number), f"model {name} version {number}"
    if found is None:
        raise IntegrityError(f"{title}: deleted from the registry; carryover rollback --name {name} leads to another")
    check_ready(found)
    try:
        folder = fetch_model(f"models:/{name}/{number}", config)
    except ConfigError:
        raise IntegrityError(
            f"{title}: its files are gone from the store; put them back, or carryover rollback --name {name}"
        ) from None
    return _as_registered(contents(folder), found, title)


def _as_registered(made: Contents, version: ModelVersion, title: str) -> Contents:
    """What a version consists of, if that is what its tags say; else IntegrityError.

    Versions from before there was a digest of their content are known by their identity, which leaves out the series
    that the model has seen.
    """
    weights = version.tags.get("carryover.weights", "none")
    remedy = f"put its files back, or carryover rollback --name {version.name}"
    if made.weights != weights:
        raise IntegrityError(
            f"{title}: holds weights {made.weights[:12]}, was registered with {weights[:12]}; {remedy}"
        )
    content, identity = (version.tags.get(f"carryover.{name}") for name in ("content", "identity"))
    if content is not None and made.content != content:
        raise IntegrityError(f"{title}: its {CARD} is not the one it was registered with; {remedy}")
    if content is None and identity is not None and _identity(made) != identity:
        raise IntegrityError(
            f"{title}: its {CARD} says other periods, horizon, gaps or calibration than were registered; {remedy}"
        )
    if content is not None:
        return made
    unseen = "which series it has seen is not checked" if identity else f"of its {CARD} nothing is checked"
    return made._replace(notes=(f"{title} was registered before {CARD} had a digest there: {unseen}",))


def check_ready(version: ModelVersion) -> None:
    """Raise IntegrityError for a version whose registration did not come to its end."""
    if version.status != READY:
        raise IntegrityError(
            f"model {version.name} version {version.version} reads {version.status}, not {READY}; register it anew"
        )


def contents(folder: Path) -> Contents:
    """What lies in a model folder, checked."""
    network, card = load_model(folder)
    return Contents(folder, weights_digest(network), content_digest(folder), card)


def _same(client: MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The version that predicts the same, where one was registered to its end."""
    query = f"name = '{name}' and tags.`carryover.identity` = '{identity}'"
    found = [v for v in client.search_model_versions(query) if v.status == READY]
    return min(found, key=lambda v: int(v.version), default=None)


def _identity(made: Contents) -> str:
    """Digest of what a forecast follows from, whatever the model has seen and wherever it comes from.

    A field that a card did not have before counts where it says something: versions from before keep their identity.
    """
    told = set() if made.card.tuned_for else {"tuned_for"}
    predicts = made.card.model_dump(mode="json", exclude={"format", "members", "seen", "lineage", "strategy", *told})
    return digest_json([made.weights, predicts])


def _origin_tags(made: Contents, key: str) -> dict[str, str]:
    """What a version is and where it comes from; never changed afterwards."""
    card = made.card
    known = {
        "weights": made.weights,
        "content": made.content,
        "identity": _identity(made),
        "strategy": card.strategy,
        "parent": card.lineage.get("parent", ""),
        "source": card.lineage.get("source", ""),
        "data": card.lineage.get("target", ""),
        "code": code_digest(*CODE),
        "key": key,
    }
    return {f"carryover.{name}": text for name, text in known.items() if text}


def _decision_tags(client: MlflowClient, decision: Decision, run_id: str | None) -> dict[str, str]:
    """The decision and the table behind it; a table too long for a tag is an artifact of the run that logged it."""
    table = decision.model_dump_json()
    if len(table) > TABLE_LIMIT and run_id:
        client.log_text(run_id, table, TABLE)
        table = f"runs:/{run_id}/{TABLE}"
    return {
        "carryover.decision": decision.outcome,
        "carryover.sentence": decision.sentence,
        "carryover.table": table,
        "carryover.evaluation": decision.fingerprint,
    }


def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
