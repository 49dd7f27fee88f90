"""What is offered as a model and is none: it is refused with 77 where loading it would run code, and nothing runs."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from shelf import Shelf

from rnn_model.errors import ConfigError, UnsafeError
from tasks.config import TrackingConfig
from tasks.tracking import fetch_model


class Payload:
    """Unpickling this creates the marker folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def pickled(path: Path, marker: Path, write: Callable[[object, Path], None] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if write:
        write({"weight": Payload(marker)}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Payload(marker)}))
    return path


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "weights.safetensors", "model"])
@pytest.mark.parametrize("write", [None, torch.save], ids=["pickle", "torch"])
@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_a_pickle_is_refused_and_does_not_run(
    tmp_path: Path, marker: Path, name: str, write: Callable[[object, Path], None] | None, whole: bool
) -> None:
    path = pickled(tmp_path / "model" / name, marker, write)
    with pytest.raises(UnsafeError, match=f"{name}: a pickle, which runs code when it is loaded") as raised:
        fetch_model(str(path.parent if whole else path), TrackingConfig())
    assert raised.value.exit_code == 77
    assert not marker.exists()


def foreign(folder: Path, marker: Path, *pickles: str) -> Path:
    """A model as MLflow keeps those of another program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: mlflow.sklearn}}")
    (folder / "loader.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    for name in pickles:
        pickled(folder / name, marker)
    return folder


@pytest.mark.parametrize("pickles", [(), ("python_model.pkl",), ("model.pkl",), ("data/model.pth",)])
def test_a_model_of_another_program_is_refused(tmp_path: Path, marker: Path, pickles: tuple[str, ...]) -> None:
    with pytest.raises(UnsafeError, match="a pickle, which" if pickles else "a model that carryover did not log"):
        fetch_model(str(foreign(tmp_path / "model", marker, *pickles)), TrackingConfig())
    assert not marker.exists()


@pytest.mark.parametrize("pickles", [(), ("model.pkl",)])
def test_a_logged_model_of_another_program_is_refused(
    client: MlflowClient, store: TrackingConfig, tmp_path: Path, marker: Path, pickles: tuple[str, ...]
) -> None:
    experiment = client.create_experiment(str(tmp_path), artifact_location=(tmp_path / "artifacts").as_uri())
    about = client.create_logged_model(experiment, name="sklearn")
    client.log_model_artifacts(about.model_id, str(foreign(tmp_path / "model", marker, *pickles)))
    client.finalize_logged_model(about.model_id, "READY")
    with pytest.raises(UnsafeError):
        fetch_model(about.model_uri, store)
    assert not marker.exists()


def test_a_logged_model_whose_model_folder_is_a_link_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "logged" / "artifacts").mkdir(parents=True)
    (tmp_path / "logged" / "artifacts" / "model").symlink_to(shelf.logged[0][1].folder)
    with pytest.raises(UnsafeError, match="a link out of"):
        fetch_model(str(tmp_path / "logged"), shelf.config)


def test_one_file_of_a_model_is_no_model(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a file; give the folder that holds its model\.json"):
        fetch_model(str(model / "weights.safetensors"), TrackingConfig())
