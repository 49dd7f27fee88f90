"""The gate: whether a challenger is so much better than the champion that it takes its place.

Three outcomes. It is promoted where the gain is significant, large enough and free of harm; the champion is kept
where it is better, where nothing that matters can be gained, or where a floor fails; else there is not enough
evidence. What the numbers mean stands in docs/gate.md, and benchmarks/gate_study.py tries the gate on equal models.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from tasks.config import GateConfig, JudgingConfig
from tasks.effects import effects_table
from tasks.handles import Check, Decision, Effect
from tasks.metrics import overall
from tasks.pairing import Pairs, Scored, pair
from tasks.segments import OWN
from tasks.significance import WORST, fewest_cutoffs, proven
from tasks.terminal import counted, named

ROUNDING = 1e-9  # of a loss: no more than arithmetic makes of equal forecasts


class Evidence(NamedTuple):
    """Two models' losses in the same windows, and what they differ in: over all, in segments, by step."""

    pairs: Pairs
    effects: tuple[Effect, ...]


class Ruling(NamedTuple):
    """An outcome, and the words after the names."""

    outcome: Literal["promote", "keep", "not enough evidence"]
    reason: str


def judge(
    champion: Scored, challenger: Scored, groups: pl.DataFrame, config: GateConfig, vacant: bool = False
) -> Decision:
    """The decision on two models' losses in the same windows. Raises ConfigError where the windows differ.

    `groups`: unique_id, part, as `tasks.segments.segments` makes them. `vacant`: there is no champion yet, and the
    rival only stands in for one. The random draws are always the same, so equal evidence gives an equal decision.
    """
    found = gather(champion, challenger, groups, config)
    pairs, effects = found
    coverage = overall(challenger.scores)["coverage_80"]
    checks = (check_known(pairs), check_coverage(coverage, config), check_segments(effects, config))
    ruling = weigh(found, checks, config)
    lead = {
        "promote": f"{challenger.name} "
        + ("becomes the first champion" if vacant else f"takes over from {champion.name}"),
        "keep": "There is no champion yet, and stays none" if vacant else f"{champion.name} stays",
        "not enough evidence": "Not enough evidence",
    }[ruling.outcome]
    return Decision(
        outcome=ruling.outcome,
        sentence=f"{lead}: {ruling.reason}.",
        metric=config.metric,
        champion=champion.name,
        challenger=challenger.name,
        fingerprint=champion.fingerprint,
        effects=effects,
        checks=checks,
    )


def gather(champion: Scored, challenger: Scored, groups: pl.DataFrame, config: JudgingConfig) -> Evidence:
    """The evidence, with the segments that are asked for. Raises ConfigError where the windows differ."""
    pairs = pair(champion, challenger, config.metric)
    asked = pl.col("part").str.split("=").list.first().is_in([*config.segments, OWN])
    return Evidence(pairs, effects_table(pairs, groups.filter(asked), config))


def weigh(found: Evidence, checks: Sequence[Check], config: GateConfig) -> Ruling:
    """The rule, in the order in which it speaks."""
    reason, same = obstacle(found, config), sameness(found.pairs, config)
    if reason:
        return Ruling("not enough evidence", reason)
    if same:
        return Ruling("keep", same)
    whole = found.effects[0]
    figures = f"{in_words(whole, found.pairs, config)} ({certainty(whole, config)})"
    if is_proven(whole, config):
        failed = [check for check in checks if not check.passed]
        if not failed:
            return Ruling("promote", f"{figures}, and every floor holds")
        floors = "; ".join(f"{c.name} is {c.value:.3g}, and {c.allowed} is asked" for c in failed)
        return Ruling("keep", f"{figures}, but {floors}")
    if whole.high < 0:
        return Ruling("keep", f"{found.pairs.champion} is better; {figures}")
    if whole.high < config.min_effect:
        return Ruling("keep", f"{figures}, and no gain of {percent(config.min_effect)} that would matter is in sight")
    return Ruling("not enough evidence", f"{figures}, but {shortcoming(whole, config)}")


def obstacle(found: Evidence, config: JudgingConfig) -> str:
    """What leaves two models undecided whatever their figures, in words; empty where nothing does."""
    pairs = found.pairs
    if pairs.unknown.height:
        return unknown_losses(pairs)
    if not found.effects:
        return "no window has a loss under both models, as their histories never change but for rounding error"
    whole, cutoffs = found.effects[0], pairs.cutoffs
    needed = fewest_cutoffs(whole.series, config.level, pairs.lags)
    if cutoffs >= needed or sameness(pairs, config):
        return ""
    few = f"{counted(cutoffs, 'cutoff')} of {whole.series} series cannot tell it from chance, {needed} are needed"
    return f"{in_words(whole, pairs, config)}, but {few}"


def sameness(pairs: Pairs, config: JudgingConfig) -> str:
    """That two models have equal losses in every window, in words; empty where they have not.

    Sums are not always added in one order, so the last digits of equal losses may differ.
    """
    if not np.allclose(pairs.windows["champion"], pairs.windows["challenger"], rtol=ROUNDING, atol=0):
        return ""
    return f"{pairs.challenger} has the same {config.metric} in each of {counted(pairs.windows.height, 'window')}"


def is_proven(effect: Effect, config: JudgingConfig) -> bool:
    """Whether an effect would do, were it not for the floors."""
    gain, low, p = (np.array(value) for value in (effect.gain, effect.low, effect.p))
    return bool(proven(gain, low, p, config.level, config.min_effect))


# ---- floors


def check_known(pairs: Pairs) -> Check:
    """Both models have a loss in every window; those whose history has no scale are counted, and left out."""
    allowed = "0 windows in which only one or no model has a loss"
    if pairs.left_out:
        windows = counted(pairs.left_out, "window")
        allowed += f" ({windows} left out: no scale, the history never changes but for rounding error)"
    return Check(name="unknown losses", value=pairs.unknown.height, allowed=allowed, passed=pairs.unknown.is_empty())


def check_coverage(coverage: float, config: GateConfig) -> Check:
    """The challenger's 80% interval holds about 80% of what came."""
    low, high = config.coverage
    passed = low <= coverage <= high
    return Check(name="coverage of the 80% interval", value=coverage, allowed=f"{low:g} to {high:g}", passed=passed)


def check_segments(effects: Sequence[Effect], config: GateConfig) -> Check:
    """No segment that is large enough loses much."""
    large = [e for e in effects[1:] if not e.part.startswith("step=") and e.series >= config.smallest_segment]
    allowed = f"a gain of {-config.worst_segment:g} or more"
    if not large:
        return Check(name="worst segment", value=None, allowed=f"{allowed}; no segment is large enough", passed=True)
    worst = min(large, key=lambda effect: effect.gain)
    passed = worst.gain >= -config.worst_segment
    return Check(name=f"gain in {worst.part}", value=worst.gain, allowed=allowed, passed=passed)


# ---- words


def in_words(effect: Effect, pairs: Pairs, config: JudgingConfig) -> str:
    """The effect over all series, e.g. `the SQL of full is 7.2% lower than that of SeasonalNaive over 9 series ...`."""
    direction = "lower" if effect.gain >= 0 else "higher"
    size = f"{counted(effect.series, 'series')} and {counted(pairs.cutoffs, 'cutoff')}"
    return (
        f"the {config.metric} of {pairs.challenger} is {percent(abs(effect.gain))} {direction} than that of "
        f"{pairs.champion} over {size}"
    )


def certainty(effect: Effect, config: JudgingConfig) -> str:
    """The interval of a gain and its p."""
    interval = f"{percent(1 - 2 * config.level)} interval of the gain {span(effect)}"
    return f"{interval}, p {chance(effect)}"


def chance(effect: Effect) -> str:
    """A p, to three digits."""
    if effect.p is None:
        return ""
    return f"{effect.p:.3f}" if effect.p >= 0.001 else "under 0.001"


def shortcoming(effect: Effect, config: JudgingConfig) -> str:
    """What a gain lacks."""
    if effect.gain <= 0:
        return f"a gain of {percent(config.min_effect)} cannot be ruled out"
    if effect.low <= 0 or effect.p is None or effect.p > config.level:
        return "chance alone could do that"
    return f"less than {percent(config.min_effect)} does not matter"


def unknown_losses(pairs: Pairs) -> str:
    """Who has no loss where."""
    without = {name: pairs.unknown.filter(~pl.col(name)) for name in ("champion", "challenger")}
    parts = []
    for name, frame in without.items():
        if frame.height:
            some, windows = named(frame["unique_id"].unique().sort().to_list()), counted(frame.height, "window")
            parts.append(f"{getattr(pairs, name)} has no finite loss in {windows} of {some}")
    return "; ".join(parts)


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.3g}%"


def span(effect: Effect) -> str:
    """From where to where the gain may lie."""
    return "unknown" if effect.low <= WORST else f"{percent(effect.low)} to {percent(effect.high)}"


def rows(effects: Sequence[Effect]) -> list[dict[str, str | int]]:
    """Effects as a table to look at."""
    return [
        {
            "part": effect.part,
            "series": effect.series,
            "windows": effect.windows,
            "champion": f"{effect.champion:.4g}",
            "challenger": f"{effect.challenger:.4g}",
            "gain": percent(effect.gain),
            "interval": span(effect),
            "p": chance(effect),
        }
        for effect in effects
    ]
