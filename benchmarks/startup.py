"""What a command costs before it works: python benchmarks/startup.py [COMMAND ...]

Runs each command in a home of its own and prints the processor seconds of it and its children, its peak memory, and
which heavy libraries its process imported. Budgets are in processor seconds.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
HEAVY = ("torch", "prefect", "mlflow", "matplotlib", "scipy", "statsforecast", "pandera", "pandas", "polars")
SAMPLE = ["forecast", "--output", "next.parquet"]
COMMANDS: dict[str, tuple[list[str], float | None]] = {  # name -> arguments and budget; in this order
    "--help": (["--help"], 0.3),
    "a wrong option": (["forecast", "--windw.horizon", "8"], 0.6),
    "a missing file": (["forecast", "--target.path", "missing.csv", "--target.freq", "MS"], 1.5),
    "forecast of the sample": (SAMPLE, 5.0),
    "the same again": (SAMPLE, 2.0),
    "rollback": (["rollback", "us_macro_quarterly"], 4.0),
    "monitor": (["monitor"], 4.0),
}
PROGRAM = f"""
import atexit, sys
atexit.register(lambda: print("IMPORTED", *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))
from flows.cli import main
main()
"""


def cost(arguments: list[str], folder: Path) -> tuple[float, float, str, int]:
    """Processor seconds, peak memory (MB), heavy libraries, and the exit code of a command."""
    environment = os.environ | {"CARRYOVER_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("IMPORTED")] or [""]
    return seconds, after.ru_maxrss / 1024, line.removeprefix("IMPORTED").strip(), done.returncode


def main() -> None:
    """Run the commands in their order, and print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], default=[])
    asked = parser.parse_args().commands or list(COMMANDS)
    print(f"{'command':<24}{'seconds':>8}{'budget':>8}{'exit':>6}  imported   (peak memory is of all so far)")
    with tempfile.TemporaryDirectory(prefix="carryover-startup-") as folder:
        for name in asked:
            arguments, budget = COMMANDS[name]
            seconds, memory, imported, code = cost(arguments, Path(folder))
            print(f"{name:<24}{seconds:>8.2f}{budget or '':>8}{code:>6}  {imported} ({memory:.0f} MB)", flush=True)


if __name__ == "__main__":
    main()
