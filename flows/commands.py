"""Which flow is behind which command, and which function of the few that are none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import Flow

from flows.backfill import backfill
from flows.compare import compare
from flows.doctor import doctor
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
from flows.services import down, services
from flows.sweep import sweep
from flows.sync import sync


@dataclass(frozen=True)
class Plain:
    """A command that Prefect has no part in, in the shape of a flow."""

    fn: Callable[..., Any]

    def __call__(self, **parameters: Any) -> Any:
        """Call it."""
        return self.fn(**parameters)


COMMANDS: dict[str, "Flow[..., Any] | Plain"] = {
    "run": pipeline,
    "backfill": backfill,
    "sweep": sweep,
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
    "sync": Plain(sync),
    "services": Plain(services),
    "down": Plain(down),
    "doctor": Plain(doctor),
}
SUMMARIZED = (  # what --summary writes out
    "run",
    "backfill",
    "sweep",
    "evaluate",
    "forecast",
    "monitor",
    "compare",
    "leaderboard",
    "prove",
    "replay",
)


def overview() -> str:
    """The commands, each with its first line."""
    lines = [f"  {name:<13}{(flow.fn.__doc__ or '').splitlines()[0]}" for name, flow in COMMANDS.items()]
    return "\n".join(
        [
            "usage: carryover COMMAND [options]",
            "",
            "commands:",
            *lines,
            "",
            "carryover COMMAND --help lists its options.",
        ]
    )
