"""Random kills of `carryover run`: python tests/faults/kills.py --kills 300

A small run is made once without a fault. Then, home after home, the same command is started and killed (SIGKILL) at
random moments, first starts included, until it is let through. Each time its figures and weights have to equal those of
the undisturbed run, and nothing may be left open: no run that reads RUNNING in MLflow or Prefect, no model PENDING, no
two versions of one model, no unfinished move in a ledger, no staging folder.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from small_run import SmallRun

COLD = 0.2  # share of homes in which Prefect's database is made anew, too; it takes most of the time of a start
MOST = 4  # kills in one home before the run is let through


def main() -> None:
    """Kill and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, places, faults = random.Random(asked.seed), Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="carryover-kills-") as root:
        reference = SmallRun(Path(root, "reference"))
        assert reference.finish() == 0, reference.said()
        warm = SmallRun(Path(root, "warm"), reference.folder / "prefect")
        begun = time.monotonic()
        assert warm.finish() == 0
        span, wanted = time.monotonic() - begun, reference.figures()
        print(f"undisturbed: {span:.1f} s; equal a second time: {warm.figures() == wanted}", flush=True)
        home = 0
        while sum(places.values()) < asked.kills:
            home, cold = home + 1, chance.random() < COLD
            place = SmallRun(Path(root, f"{home}"), None if cold else reference.folder / "prefect")
            for _ in range(chance.randint(1, MOST)):
                at = place.kill(chance.uniform(0.0, span * (2 if cold else 1)), alone=chance.random() < 0.5)
                if at is None:
                    break
                places[at] += 1
            code = place.finish()
            wrong = [f"exit {code}: {place.said()}"] if code else place.left_open()
            if not code and place.figures() != wanted:
                wrong.append("other figures")
            faults += [(home, wrong)] if wrong else []
            words = "; ".join(wrong) or "equal, nothing open"
            print(f"{sum(places.values()):4} kills, home {home}: {words}", flush=True)
            if not wrong:
                shutil.rmtree(place.folder)
        print(f"\n{sum(places.values())} kills in {home} homes; last written before the kill: {dict(places)}")
        print(f"homes with a fault: {len(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
