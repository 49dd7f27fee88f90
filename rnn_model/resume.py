"""The state of a training on disk, so that an interrupted one goes on to the same bits."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor

from rnn_model.artefact import open_checked, publish
from rnn_model.errors import IntegrityError
from rnn_model.failpoints import failpoint
from rnn_model.json_file import read_json
from rnn_model.tensor_file import load_tensors

KEPT = 2
STATE, ABOUT = "state.safetensors", "about.json"


class State(NamedTuple):
    """Everything a training holds after a step: tensors by name, and the rest as JSON."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]


class States:
    """States of one training under `folder`, each in a folder of its own; the latest KEPT stay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: State) -> None:
        """Keep the state after `step`, then drop all but the latest."""

        def write(staging: Path) -> None:
            (staging / STATE).write_bytes(save({k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}))
            (staging / ABOUT).write_text(json.dumps(state.about))
            failpoint("state written")

        publish(self.folder / f"step-{step:09d}", write)
        failpoint("state kept")
        for earlier in self._found()[:-KEPT]:
            shutil.rmtree(earlier, ignore_errors=True)

    def latest(self) -> State | None:
        """The newest intact state; None where none was kept. Raises IntegrityError where all are damaged."""
        found = self._found()
        for folder in reversed(found):
            try:
                open_checked(folder)
                return State(load_tensors(folder / STATE), _read_about(folder / ABOUT))
            except IntegrityError as error:
                logging.getLogger("carryover").warning("a state of a training is passed over: %s", error)
        if found:
            raise IntegrityError(f"{self.folder}: no state of the training is intact; delete the folder to begin anew")
        return None

    def clear(self) -> None:
        """The training is done: its states are of no use any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _read_about(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"{path}: not what was written there ({error})") from error
