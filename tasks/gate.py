"""The gate, as a stage: tonight's challenger against the champion, or against the seasonal naive where there is none.

The rule and its words stand in judgement.py.
"""

from rnn_model.errors import ConfigError
from tasks.config import GateConfig
from tasks.handles import CHAMPION, Decision, Evaluation, Run, Standing
from tasks.judgement import judge, rows
from tasks.pairing import Scored, read_groups, read_scored
from tasks.progress import show_table
from tasks.step import step
from tasks.tracking import log_metrics, log_table, set_tags

NAIVE = "SeasonalNaive"  # what a challenger has to beat where there is no champion


@step
def decide(evaluation: Evaluation, challenger: str, standing: Standing, config: GateConfig, parent: Run) -> Decision:
    """Hold the challenger against the champion, or the seasonal naive where there is none; logged and shown.

    Nothing is promoted over a champion that cannot be compared. Raises ConfigError for a challenger that is not in
    the evaluation.
    """
    new, rival = scored_model(evaluation, challenger), CHAMPION if standing.address else NAIVE
    missing = "" if rival in evaluation.table else f"there is no champion, and no {rival} among the baselines"
    reason = standing.refused or missing
    if reason:
        decision = undecided(evaluation, challenger, rival, reason, config)
    else:
        old, groups = scored_model(evaluation, rival), read_groups(evaluation.folder)
        decision = judge(old, new, groups, config, vacant=not standing.address)
    words = decision.sentence if config.moves else f"Rehearsal, nothing moves. {decision.sentence}"
    decision = decision.model_copy(update={"address": standing.address, "sentence": words})
    log_table(parent, decision.model_dump(mode="json"), "decision.json")
    if decision.effects:
        whole = decision.effects[0]
        log_metrics(parent, {"gate/gain": whole.gain, "gate/low": whole.low, "gate/high": whole.high})
    set_tags(parent, {"carryover.gate": decision.outcome, "carryover.gate_reason": decision.sentence})
    show_table(table=rows(decision.effects), key="gate", description=decision.sentence)
    return decision


def undecided(evaluation: Evaluation, challenger: str, rival: str, reason: str, config: GateConfig) -> Decision:
    """Not enough evidence, as nothing was compared."""
    return Decision(
        outcome="not enough evidence",
        sentence=f"Not enough evidence: {reason}.",
        metric=config.metric,
        champion=rival,
        challenger=challenger,
        fingerprint=evaluation.fingerprint,
    )


def scored_model(evaluation: Evaluation, name: str) -> Scored:
    """One model's part of an evaluation. Raises ConfigError where it has none."""
    if name not in evaluation.table:
        raise ConfigError(
            f"{name} is not in the evaluation, which has {', '.join(evaluation.table)}; add it to the test"
        )
    return read_scored(evaluation.folder, name, evaluation.fingerprint)
