"""A trained forecaster as a folder: weights in safetensors, everything else to predict in model.json. No pickle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save

from rnn_model.artefact import digest_json, open_checked, publish, sha256_file
from rnn_model.calibration import Calibration
from rnn_model.config import HORIZON_LIMIT, ModelConfig, Section
from rnn_model.errors import DataError, IntegrityError
from rnn_model.json_file import FILE_LIMIT, read_json
from rnn_model.network import Network, build_network, members_of
from rnn_model.tensor_file import form_of, is_pickle, load_tensors, read_forms, refuse_pickle

FORMAT = 4  # 1: before deciles were calibrated; 2: before ensembles; 3: before a card told what it was tuned for
WEIGHTS, CARD, RECORD = "weights.safetensors", "model.json", "training.json"
SHOWN = 5  # weights named in an error
SENTENCE_LIMIT = 300  # characters
Period = Annotated[int, Field(ge=1, le=2**31)]


class ModelCard(Section):
    """What stands beside the weights: the network's config, the data's rhythm, and where the model comes from."""

    format: int = Field(FORMAT, description="version of this file")
    model: ModelConfig = Field(description="the network")
    freq: str = Field(description="frequency it was made for, e.g. MS")
    periods: tuple[Period, Period] = Field(description="short and long season in steps; equal where there is one")
    horizon: int = Field(ge=1, le=HORIZON_LIMIT, description="steps decoded in one pass; longer horizons roll forward")
    tuned_for: int | None = Field(
        None,
        ge=1,
        le=HORIZON_LIMIT,
        description="steps it was tuned and chosen for; none: the card is older, or of a base",
    )
    members: int = Field(1, ge=1, le=64, description="networks whose forecasts are averaged")
    gaps: str = Field("missing", description="what a time without a row is: missing or zero")
    seen: dict[str, str] = Field(default_factory=dict, description="series -> last time it was fitted or chosen on")
    strategy: str = Field(description="how the weights came about, e.g. pretrain, zero-shot, full")
    lineage: dict[str, str] = Field(default_factory=dict, description="digests of the data and the parent")
    calibration: Calibration | None = Field(None, description="of its deciles; none: never looked at")


def weights_digest(network: Network) -> str:
    """SHA-256 over names, shapes and bytes of all weights: equal if and only if the networks predict bit-equal."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def content_digest(folder: Path) -> str:
    """SHA-256 over the files of a model folder that can change a forecast, or whether one is allowed: the weights of
    all members, and the card, calibration included. Raises IntegrityError where one is missing."""
    try:
        return digest_json({name: sha256_file(folder / name) for name in (WEIGHTS, CARD)})
    except OSError as error:
        raise IntegrityError(f"{folder}: no model here ({error.strerror}); make it anew, or name another") from error


def save_model(network: Network, card: ModelCard, folder: Path, extra: Mapping[str, Any] | None = None) -> Path:
    """Write weights and card to `folder`, whole or not at all; `extra` goes to training.json beside them.

    The format and the number of members are of what is written, not of the model that the card was copied from.
    """
    card = card.model_copy(update={"format": FORMAT, "members": len(members_of(network))})
    text = card.model_dump_json(indent=1).encode()
    if len(text) > FILE_LIMIT:  # it could not be read again
        raise DataError(f"{len(card.seen)} series are more than a model card can name; tune on fewer")

    def write(staging: Path) -> None:
        weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        (staging / WEIGHTS).write_bytes(save(weights))  # save_file would hide a full disk in an error of its own
        (staging / CARD).write_bytes(text)
        (staging / RECORD).write_text(json.dumps(dict(extra or {}), indent=1))

    return publish(folder, write)


def load_model(folder: Path) -> tuple[Network, ModelCard]:
    """The network and its card, after digests, format, names and shapes were checked. Raises IntegrityError (76), or
    UnsafeError (77) for a pickle or a link in the folder."""
    open_checked(folder)
    card = load_card(folder)
    check_forms(folder, card)
    network = build_network(card.model, card.horizon, seed=0, members=card.members)
    found = load_tensors(folder / WEIGHTS)
    if not all(torch.isfinite(value).all() for value in found.values()):
        raise IntegrityError(f"{folder}: weights that are not finite; make the model anew")
    network.load_state_dict(found)
    network.eval()
    return network, card


def load_known(folder: Path, weights: str, content: str = "") -> tuple[Network, ModelCard]:
    """As `load_model`, of a folder that was looked at before: by the digests of its weights and its content ("": not
    known) it has to be the same. Raises IntegrityError."""
    network, card = load_model(folder)
    if weights_digest(network) != weights:
        raise IntegrityError(f"{folder}: its weights changed since this began; run it again")
    if content and content_digest(folder) != content:
        raise IntegrityError(f"{folder}: its {CARD} changed since this began; run it again")
    return network, card


def check_forms(folder: Path, card: ModelCard) -> None:
    """Compare what the weights' header lists with what the card's network has, before either is allocated.

    A card of a few bytes can claim a network of any size; the file's own size bounds what its header can claim.
    """
    found = read_forms(folder / WEIGHTS)
    with torch.device("meta"):  # shapes without memory
        network = build_network(card.model, card.horizon, seed=0, members=card.members)
    wanted = {name: form_of(value) for name, value in network.state_dict().items()}
    wrong = [f"{name} missing" for name in sorted(set(wanted) - set(found))]
    wrong += [f"{name} unknown" for name in sorted(set(found) - set(wanted))]
    wrong += [
        f"{k} {found[k]} (expected {wanted[k]})" for k in sorted(set(found) & set(wanted)) if found[k] != wanted[k]
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise IntegrityError(
            f"{folder}: weights do not fit {CARD}: {', '.join(wrong[:SHOWN])}{more}; make the model anew"
        )


def load_card(folder: Path) -> ModelCard:
    """The card of a model folder. Raises IntegrityError for a missing, unreadable or newer one."""
    try:
        raw = read_json(folder / CARD)
        if not isinstance(raw, dict) or type(raw.get("format")) is not int:
            raise ValueError("no object with a format")
        if raw["format"] > FORMAT:
            raise IntegrityError(
                f"{folder}: format {raw['format']}; this version reads up to {FORMAT}. Update carryover."
            )
        return ModelCard.model_validate(raw)
    except (OSError, ValueError) as error:  # a ValidationError is one
        if is_pickle(folder / CARD):
            refuse_pickle(folder / CARD)
        raise IntegrityError(f"{folder / CARD}: not a model card ({card_fault(error)})") from error


def read_record(folder: Path) -> dict[str, Any]:
    """What the training of a model left beside it, its files checked. Raises IntegrityError."""
    try:
        return dict(read_json(open_checked(folder) / RECORD))
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"{folder / RECORD}: not what was written there ({error}); make the model anew") from error


def card_fault(error: Exception) -> str:
    """What is wrong with a card, in one line: the first refused field, where it is about fields."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:SENTENCE_LIMIT]
