"""Which flow is behind which command."""

from typing import Any

from prefect import Flow

from flows.compare import compare
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.forecast import forecast
from flows.leaderboard import leaderboard
from flows.monitor import monitor
from flows.pipeline import pipeline
from flows.pretrain import pretrain
from flows.prove import prove
from flows.replay import replay
from flows.rollback import rollback

COMMANDS: dict[str, "Flow[..., Any]"] = {
    "run": pipeline,
    "pretrain": pretrain,
    "finetune": finetune,
    "evaluate": evaluate,
    "forecast": forecast,
    "monitor": monitor,
    "compare": compare,
    "leaderboard": leaderboard,
    "prove": prove,
    "rollback": rollback,
    "replay": replay,
}
SUMMARIZED = (  # what --summary writes out
    "run",
    "evaluate",
    "forecast",
    "monitor",
    "compare",
    "leaderboard",
    "prove",
    "replay",
)
