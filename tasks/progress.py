"""How a wait is shown: a bar in a terminal, a line now and then elsewhere; and what a training logs meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from rnn_model.training import Progress, Watch
from tasks.handles import Run
from tasks.tracking import log_metrics

SECONDS = 0.5 if sys.stderr.isatty() else 15.0  # between refreshes; a log file needs few


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
    """What `fit` tells: each validation is logged to `run`, each step moves the bar."""
    with bar(steps, title, "step") as shown:

        def report(progress: Progress) -> None:
            shown.set_postfix_str(f"val {progress.validation_loss:.4f}")
            metrics = {
                "train/loss": progress.train_loss,
                "val/loss": progress.validation_loss,
                "train/learning_rate": progress.learning_rate,
                "train/gradient_norm": progress.gradient_norm,
                "train/windows_per_second": progress.windows_per_second,
            }
            log_metrics(run, metrics, progress.step)

        yield Watch(report, advance(shown))
