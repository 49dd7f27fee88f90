"""Which flow is behind which command."""

from typing import Any

from prefect import Flow

from flows.backfill import backfill
from flows.compare import compare
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.forecast import forecast
from flows.leaderboard import leaderboard
from flows.pipeline import pipeline
from flows.pretrain import pretrain
from flows.prove import prove
from flows.replay import replay
from flows.rollback import rollback
from flows.sweep import sweep

COMMANDS: dict[str, "Flow[..., Any]"] = {
    "run": pipeline,
    "backfill": backfill,
    "sweep": sweep,
    "pretrain": pretrain,
    "finetune": finetune,
    "evaluate": evaluate,
    "forecast": forecast,
    "compare": compare,
    "leaderboard": leaderboard,
    "prove": prove,
    "rollback": rollback,
    "replay": replay,
}
SUMMARIZED = (  # what --summary writes out
    "run",
    "backfill",
    "sweep",
    "evaluate",
    "forecast",
    "compare",
    "leaderboard",
    "prove",
    "replay",
)
