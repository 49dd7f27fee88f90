"""Pretraining on several processes, as torchrun starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rnn_model.checkpoint import load_model
from rnn_model.config import FitConfig
from rnn_model.training import Watch
from tasks.pretrain import Job, train

PRETRAIN = [
    *("pretrain", "--source.freq", "MS", "--window.horizon", "4"),
    *("--model.width", "8", "--model.num_layers", "1", "--model.context", "32", "--model.patch", "4"),
    *("--source.synthetic.series", "64", "--source.synthetic.length", "64"),
    *("--pretrain.steps", "6", "--pretrain.validate_every", "3", "--pretrain.batch_size"),
]


def on_two_processes(home: Path, batch_size: int) -> "subprocess.CompletedProcess[str]":
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"CARRYOVER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [*torchrun, "-m", "flows.cli", *PRETRAIN, str(batch_size)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    done = on_two_processes(tmp_path, batch_size=8)
    assert done.returncode == 0, done.stderr
    assert "waitForInput" not in done.stderr  # nothing but the bars while one waits for the other
    (folder,) = (path for path in (tmp_path / "models").glob("pretrain-*") if path.suffix == "")
    record = json.loads((folder / "training.json").read_text())
    assert record["processes"] == 2
    network, card = load_model(folder)
    (corpus,) = (tmp_path / "windows").glob("synthetic-*")
    fit = FitConfig(steps=6, batch_size=8, validate_every=3)
    job = Job(corpus=corpus, states=tmp_path / "alone", model=card.model, fit=fit, horizon=4, seed=0)
    alone, result = train(job, Watch())
    for both, one in zip(record["history"], result.history, strict=True):
        assert both["train_loss"] == pytest.approx(one.train_loss, rel=1e-5)
        assert both["validation_loss"] == pytest.approx(one.validation_loss, rel=1e-5)
        assert both["gradient_norm"] == pytest.approx(one.gradient_norm, rel=1e-4)
    for name, weight in alone.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
