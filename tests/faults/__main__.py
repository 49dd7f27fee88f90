"""The catalogue of faults, tried: python tests/faults [NUMBER ...] prints case, outcome and seconds of each."""

import sys
from collections import defaultdict
from pathlib import Path

import pytest
from catalogue import CASES
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parents[1]
WORST_FIRST = ("failed", "skipped", "passed")


class Listener:
    """Outcome and seconds of every test that was run."""

    def __init__(self) -> None:
        self.outcome: dict[str, str] = {}
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up, call and tear-down of a test; the worst of them is its outcome."""
        name = report.nodeid.removeprefix("tests/")
        before = self.outcome.get(name, "passed")
        self.outcome[name] = min(before, report.outcome, key=WORST_FIRST.index)
        self.seconds[name] += report.duration

    def of(self, test: str) -> list[str]:
        """The tests behind a name: itself, or with every parameter."""
        return [name for name in self.outcome if name == test or name.startswith(f"{test}[")]


def main(numbers: list[int]) -> int:
    """Run the tests of the cases asked for, or of all, and print the table; 1 where one failed or did not run."""
    cases = {n: case for n, case in CASES.items() if not numbers or n in numbers}
    listener = Listener()
    asked = sorted({str(TESTS / test) for case in cases.values() for test in case.tests})
    options = ["-q", "-m", "slow or not slow", "--numprocesses", "2", "--dist", "loadfile", "--no-header"]
    code = pytest.main([*options, *asked], plugins=[listener])
    table = Table("case", "fault", "has to be seen", "outcome", "tests", "seconds")
    missing = 0
    for number, case in sorted(cases.items()):
        found = [listener.of(test) for test in case.tests]
        ran = [name for names in found for name in names]
        missing += sum(not names for names in found)
        outcome = min((listener.outcome[name] for name in ran), key=WORST_FIRST.index, default="not run")
        seconds = sum(listener.seconds[name] for name in ran)
        table.add_row(str(number), case.fault, case.outcome, outcome, str(len(ran)), f"{seconds:.1f}")
    Console(width=160).print(table)
    return int(code) or int(missing > 0)


if __name__ == "__main__":
    sys.exit(main([int(number) for number in sys.argv[1:]]))
