"""How a wait is shown: a bar in a terminal, a line now and then elsewhere; and what a training logs meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rnn_model.checkpoint import read_record
from rnn_model.training import FitResult, Progress, Watch
from tasks.handles import Run
from tasks.step import show_artifact
from tasks.tracking import log_metrics

SECONDS = 0.5 if sys.stderr.isatty() else 15.0  # between refreshes; a log file needs few


def show_table(table: list[dict[str, Any]], key: str, description: str) -> None:
    """A table on the flow run's page, where there is one. A server that went away costs the table, not the work."""
    show_artifact("table", key, table=table, description=description)


def show_note(markdown: str, key: str, description: str) -> None:
    """The same for a text."""
    show_artifact("markdown", key, markdown=markdown, description=description)


def bar(total: int, title: str, unit: str) -> "tqdm[Any]":
    """A progress bar on stderr."""
    shown: tqdm[Any] = tqdm(
        total=total, desc=f"{title:<22}", unit=unit, mininterval=SECONDS, file=sys.stderr, dynamic_ncols=True
    )
    return shown


def advance(shown: "tqdm[Any]") -> Callable[[int], None]:
    """A callable that moves a bar to an absolute count."""

    def to(count: int) -> None:
        shown.update(count - shown.n)

    return to


@contextmanager
def training_progress(run: Run, title: str, steps: int) -> Iterator[Watch]:
    """What `fit` tells: each validation is logged to `run`, each step moves the bar, which says so of a training that
    ends before all `steps`."""
    with bar(steps, title, "step") as shown:

        def report(progress: Progress) -> None:
            shown.set_postfix_str(f"val {progress.validation_loss:.4f}")
            log_progress(run, progress)

        yield Watch(report, advance(shown))
        if shown.n < steps:
            shown.set_postfix_str(f"{shown.postfix}, stopped early")


def training_record(result: FitResult) -> dict[str, Any]:
    """What stands in training.json beside a model: every validation, and the one whose weights were kept."""
    history = [asdict(progress) for progress in result.history]
    return {"history": history, "best_step": result.best_step, "best_loss": result.best_loss}


def replay_history(run: Run, folder: Path) -> None:
    """Log the validations of a model that was trained before."""
    for row in read_record(folder)["history"]:
        log_progress(run, Progress(**row))


def log_progress(run: Run, progress: Progress) -> None:
    """One validation as metrics."""
    metrics = {
        "train/loss": progress.train_loss,
        "val/loss": progress.validation_loss,
        "train/learning_rate": progress.learning_rate,
        "train/gradient_norm": progress.gradient_norm,
        "train/windows_per_second": progress.windows_per_second,
    }
    log_metrics(run, metrics, progress.step)
