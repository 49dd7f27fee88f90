"""A trained forecaster as a folder: weights in safetensors, everything else to predict in model.json. No pickle."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rnn_model.artefact import open_checked, publish
from rnn_model.calibration import Calibration
from rnn_model.config import ModelConfig, Section
from rnn_model.errors import IntegrityError
from rnn_model.network import Network, build_network, members_of

FORMAT = 3  # 1: before deciles were calibrated; 2: before ensembles
WEIGHTS, CARD = "weights.safetensors", "model.json"


class ModelCard(Section):
    """What stands beside the weights: the network's config, the data's rhythm, and where the model comes from."""

    format: int = Field(FORMAT, description="version of this file")
    model: ModelConfig = Field(description="the network")
    freq: str = Field(description="frequency it was made for, e.g. MS")
    periods: tuple[int, int] = Field(description="short and long season in steps; equal where there is one")
    horizon: int = Field(ge=1, description="steps decoded in one pass; longer horizons roll forward")
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


def save_model(network: Network, card: ModelCard, folder: Path, extra: Mapping[str, Any] | None = None) -> Path:
    """Write weights and card to `folder`, whole or not at all; `extra` goes to training.json beside them.

    The format and the number of members are of what is written, not of the model that the card was copied from.
    """
    card = card.model_copy(update={"format": FORMAT, "members": len(members_of(network))})

    def write(staging: Path) -> None:
        weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        (staging / WEIGHTS).write_bytes(save(weights))  # save_file would hide a full disk in an error of its own
        (staging / CARD).write_text(card.model_dump_json(indent=1))
        (staging / "training.json").write_text(json.dumps(dict(extra or {}), indent=1))

    return publish(folder, write)


def load_model(folder: Path) -> tuple[Network, ModelCard]:
    """The network and its card, after digests, format, names and shapes were checked. Raises IntegrityError (76)."""
    open_checked(folder)
    card = load_card(folder)
    network = build_network(card.model, card.horizon, seed=0, members=card.members)
    try:
        found = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise IntegrityError(f"{folder / WEIGHTS}: not a readable safetensors file ({error})") from error
    wanted = network.state_dict()
    wrong = sorted(set(found) ^ set(wanted)) + [
        f"{k} {tuple(found[k].shape)} (expected {tuple(wanted[k].shape)})"
        for k in sorted(set(found) & set(wanted))
        if found[k].shape != wanted[k].shape
    ]
    if wrong:
        raise IntegrityError(f"{folder}: weights do not fit {CARD}: {', '.join(wrong[:5])}; make the model anew")
    if not all(torch.isfinite(value).all() for value in found.values()):
        raise IntegrityError(f"{folder}: weights that are not finite; make the model anew")
    network.load_state_dict(found)
    network.eval()
    return network, card


def load_card(folder: Path) -> ModelCard:
    """The card of a model folder. Raises IntegrityError for a missing, unreadable or newer one."""
    try:
        raw = json.loads((folder / CARD).read_text())
        if raw.get("format", math.inf) > FORMAT:
            raise IntegrityError(
                f"{folder}: format {raw.get('format')}; this version reads up to {FORMAT}. Update carryover."
            )
        return ModelCard.model_validate(raw)
    except (OSError, ValueError, TypeError, AttributeError, ValidationError) as error:  # JSON, but no object
        raise IntegrityError(f"{folder / CARD}: not a model card ({str(error).splitlines()[0]})") from error
