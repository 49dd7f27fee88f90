"""The state of a training on disk, so that an interrupted one goes on to the same bits."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save
from torch import Tensor

from rnn_model.artefact import open_checked, publish
from rnn_model.errors import IntegrityError

STATE, ABOUT = "state.safetensors", "about.json"


class State(NamedTuple):
    """Everything a training holds after a step: tensors by name, and the rest as JSON."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]


class States:
    """States of one training under `folder`, each in a folder of its own; only the latest is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: State) -> None:
        """Keep the state after `step`, then drop the earlier ones."""

        def write(staging: Path) -> None:
            (staging / STATE).write_bytes(save({k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}))
            (staging / ABOUT).write_text(json.dumps(state.about))

        kept = publish(self.folder / f"step-{step:09d}", write)
        for earlier in self._found():
            if earlier != kept:
                shutil.rmtree(earlier, ignore_errors=True)

    def latest(self) -> State | None:
        """The newest state whose digests hold; None where there is none."""
        for folder in reversed(self._found()):
            try:
                open_checked(folder)
            except IntegrityError:  # half-removed, or damaged: the training begins earlier
                continue
            return State(load_file(folder / STATE), json.loads((folder / ABOUT).read_text()))
        return None

    def clear(self) -> None:
        """The training is done: its states are of no use any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))
