"""The leakage proof: two runs that differ in nothing but the future, compared bit by bit in what lies before it.

It stands above the stages, because it looks at what each of them makes; no stage uses it. Where all is equal, nothing
that was changed can have been read.
"""

from typing import Any

from pydantic import Field
from rich.table import Table

from rnn_model.config import Section
from rnn_model.errors import LeakError
from tasks.difference import Evidence, bits, first_difference
from tasks.evidence import Carried, Look, by_model, evidence, forecasts
from tasks.future import Future
from tasks.handles import Run
from tasks.progress import show_table
from tasks.step import step
from tasks.terminal import counted, print_plainly
from tasks.tracking import describe, log_metrics, log_table, set_tags

EQUAL, DIFFERENT, SEEN, UNSEEN = "equal", "DIFFERENT", "arrived", "NOT THERE"
NO_LEAK = "no stage read anything past a cutoff"


class Finding(Section):
    """One stage under one other future."""

    cutoff: int = Field(description="test cutoff after which everything was changed; 0 is the first")
    stage: str
    compared: int = Field(description="values compared")
    difference: str | None = Field(None, description="the first one: series, time, both values; none: all are equal")
    control: bool = Field(False, description="whether this is the change itself, which has to be there")

    @property
    def passed(self) -> bool:
        """Nothing differs; of a control: something was there to be seen."""
        return self.compared > 0 if self.control else self.difference is None

    @property
    def result(self) -> str:
        """One word for the table."""
        return (SEEN if self.passed else UNSEEN) if self.control else (EQUAL if self.passed else DIFFERENT)


class Proof(Section):
    """Every stage under every other future."""

    run: Run
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """What does not hold, the earliest stage first."""
        return tuple(f for f in self.findings if not f.passed)

    @property
    def sentence(self) -> str:
        """The result in one line."""
        if not self.leaks:
            own = [f for f in self.findings if not f.control]
            stages = counted(len({f.stage for f in own}), "stage")
            return f"{stages}, {sum(f.compared for f in own):,} values: {NO_LEAK}"
        first = self.leaks[0]
        if first.control:
            return f"nothing is proved: {first.stage} did not take place (cutoff {first.cutoff + 1})"
        where = f"everything after test cutoff {first.cutoff + 1} was changed, and {first.stage} moved"
        return f"leak: {where}: {first.difference}; {len(self.leaks)} of {len(self.findings)} comparisons differ"


@step
def compare(untouched: Carried, other: Carried, future: Future) -> tuple[Finding, ...]:
    """Both runs, stage by stage. `other` is the run whose data was changed after `future.cutoff`."""
    return compared(untouched, other, future)


def compared(untouched: Carried, other: Carried, future: Future) -> tuple[Finding, ...]:
    """As `compare`."""
    if other.selection is None:  # it only forecast, with the models of the untouched run
        untouched = untouched.model_copy(update={"selection": None})
    kept = Look.kept_of(untouched, future.cutoff)
    before, after = Look(untouched, kept, future.cutoff), Look(other, kept, future.cutoff)
    stages = zip(evidence(before), evidence(after), strict=True)
    findings = [finding(future.cutoff, stage, first, second) for (stage, first), (_, second) in stages]
    controls = arrived(before, after, future)
    there = [Finding(cutoff=future.cutoff, stage=s, compared=count, control=True) for s, count in controls.items()]
    return (*findings, *there)


def finding(cutoff: int, stage: str, before: Evidence, after: Evidence) -> Finding:
    """Two pieces of evidence of one stage, compared."""
    compared = sum(piece.values.size for piece in before.values())
    return Finding(cutoff=cutoff, stage=stage, compared=compared, difference=first_difference(before, after))


def arrived(before: Look, after: Look, future: Future) -> dict[str, int]:
    """How much of the change came through; a proof in which nothing was changed proves nothing."""
    out = {
        "control: values after the cutoffs changed": sum(_changed(before, after, name) for name in after.known()),
        "control: rows past the end cut by as_of": after.carried.validated.account.later,
    }
    if future.tested:
        out["control: new series in the test"] = sum(name not in before.kept for name in after.names)
    if future.cutoff + 1 < before.carried.windows.cutoffs:
        out["control: models whose later forecasts moved"] = _moved(before, after)
    return out


def _changed(before: Look, after: Look, name: str) -> int:
    old, new = (look.past(name) for look in (before, after))
    return int((bits(old) != bits(new)).sum()) if len(old) == len(new) else 1


def _moved(before: Look, after: Look) -> int:
    """Models whose forecasts past the change are others; 0 as soon as one stays where it was."""
    old, new = by_model(before.forecasts), by_model(after.forecasts)
    still = [m for m in old if first_difference(forecasts(old[m], True), forecasts(new[m], True)) is None]
    return 0 if still else len(old)


@step
def conclude(findings: tuple[Finding, ...], run: Run) -> Proof:
    """Log the proof, show it as an artifact and in the terminal. Raises LeakError (76) where it does not hold."""
    proof = Proof(run=run, findings=findings)
    rows = table_rows(proof)
    show_table(table=rows, key="leakage-proof", description=proof.sentence)
    log_table(run, {"sentence": proof.sentence, "findings": [f.model_dump() for f in findings]}, "leakage.json")
    log_metrics(run, {"leakage/comparisons": len(findings), "leakage/differences": len(proof.leaks)})
    set_tags(run, {"carryover.kind": "proof", "carryover.leak": proof.leaks[0].stage if proof.leaks else "none"})
    describe(run, markdown(proof.sentence, rows))
    print_proof(proof)
    if proof.leaks:
        raise LeakError(f"{proof.sentence}; see docs/leakage.md")
    return proof


def table_rows(proof: Proof) -> list[dict[str, Any]]:
    """One line per stage: after which cutoffs it was compared, how many values, and the first difference."""
    rows = []
    for stage in dict.fromkeys(f.stage for f in proof.findings):
        own = [f for f in proof.findings if f.stage == stage]
        worst = next((f for f in own if not f.passed), own[0])
        rows.append(
            {
                "stage": stage,
                "changed after cutoffs": ", ".join(str(f.cutoff + 1) for f in own),
                "values": sum(f.compared for f in own),
                "result": worst.result,
                "first difference": worst.difference or "",
            }
        )
    return rows


def markdown(sentence: str, rows: list[dict[str, Any]]) -> str:
    """The table for the run's page."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(str(row[name]).replace("|", "/") for name in names) + " |" for row in rows]
    return "\n".join([sentence, "", *lines])


def print_proof(proof: Proof) -> None:
    """The table in the terminal."""
    rows = table_rows(proof)
    table = Table(title=proof.sentence, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right" if name == "values" else "left")
    for row in rows:
        failed = row["result"] in (DIFFERENT, UNSEEN)
        table.add_row(*(f"{v:,}" if isinstance(v, int) else v for v in row.values()), style="bold" if failed else "")
    print_plainly(table, 140)
