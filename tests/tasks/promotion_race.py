"""Two processes race for one champion: `python tests/tasks/promotion_race.py FOLDER ROUNDS` prints figures as JSON.

With `apart` behind it each has a data folder of its own, as on two machines: the store is the server that
$MLFLOW_TRACKING_URI names, and nothing but $CARRYOVER_DATABASE keeps one from the other.

In every round each process has a challenger whose score is known (higher is better), reads the champion, and promotes
its own if that is better than what it read; told "superseded", it reads and decides again.
"""

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any

from rnn_model.checkpoint import ModelCard, save_model, weights_digest
from rnn_model.config import ModelConfig
from rnn_model.network import build_network
from tasks.champion import champion, promote
from tasks.config import TrackingConfig
from tasks.connection import connected
from tasks.handles import Decision, Version
from tasks.ledger import read_ledger
from tasks.registry import ledger_path

NAME = "race"
SAYS = {"metric": "SQL", "champion": "the one read", "challenger": "mine", "fingerprint": "f"}


def scores(rounds: int) -> list[tuple[float, float]]:
    """Two challengers a round; now and then one of them, or both, are worse than what stands."""
    draw = Random(7)
    return [(n + draw.uniform(-1, 2), n + draw.uniform(-1, 2)) for n in range(rounds)]


def prepare(folder: Path, config: TrackingConfig, rounds: int) -> str:
    """One logged model, and a version of it for every challenger; 2n + 1 + p is that of process p in round n."""
    network = build_network(ModelConfig(width=8, num_layers=1, patch=4, context=16), 4, seed=0)
    card = ModelCard(model=network.config, freq="D", periods=(7, 7), horizon=4, strategy="full")
    save_model(network, card, folder / "logged" / "model")
    with connected(config) as client:
        here = None if client.tracking_uri.startswith("http") else (folder / "artifacts").as_uri()
        experiment = client.create_experiment("race", artifact_location=here)
        logged = client.create_logged_model(experiment)
        client.log_model_artifacts(logged.model_id, str(folder / "logged"))
        client.finalize_logged_model(logged.model_id, "READY")
        client.create_registered_model(NAME)
        for _ in range(2 * rounds):
            tags = {"carryover.weights": weights_digest(network)}
            client.create_model_version(NAME, logged.model_uri, model_id=logged.model_id, tags=tags)
    return weights_digest(network)


def contend(
    process: int, home: str, rounds: int, weights: str, meet: Barrier, seen: "multiprocessing.Queue[Any]"
) -> None:
    """One process: all rounds."""
    os.environ["CARRYOVER_HOME"] = home
    config = TrackingConfig()
    known = scores(rounds)
    told: list[list[str]] = []
    for turn in range(rounds):
        mine = Version(name=NAME, number=2 * turn + 1 + process, uri="", weights=weights)
        key, words = f"{turn}-{process}", []
        meet.wait()
        while not words or words[-1] == "superseded":
            found = champion(NAME, config)
            stands = known[(found.version - 1) // 2][(found.version - 1) % 2] if found else float("-inf")
            if known[turn][process] <= stands:
                words.append("not better")
                continue
            decision = Decision(outcome="promote", sentence=f"{known[turn][process]:.3f} > {stands:.3f}", **SAYS)
            words.append(promote(mine, found.version if found else None, decision, key, config).result)
        told.append(words)
        meet.wait()
        if process == 0:
            now = champion(NAME, config)
            seen.put(("champion", turn, now.version if now else None))
    seen.put(("told", process, told))


def race(folder: Path, rounds: int, apart: bool = False) -> dict[str, Any]:
    """Run it and look at what is left: rounds won by the wrong one, lost updates, what the losers were told."""
    os.environ["CARRYOVER_HOME"] = str(folder)
    config = TrackingConfig()
    weights = prepare(folder, config, rounds)
    context = multiprocessing.get_context("spawn")
    meet, seen = context.Barrier(2), context.Queue()
    started = time.monotonic()
    homes = [str(folder), str(folder / "other" if apart else folder)]
    racers = [context.Process(target=contend, args=(p, homes[p], rounds, weights, meet, seen)) for p in range(2)]
    for racer in racers:
        racer.start()
    notes = [seen.get(timeout=600) for _ in range(rounds + 2)]
    for racer in racers:
        racer.join()
    seconds = time.monotonic() - started
    with connected(config) as client:
        ledger = read_ledger(ledger_path(NAME, client.tracking_uri))
    known = [score for pair in scores(rounds) for score in pair]
    after = {turn: version for kind, turn, version in notes if kind == "champion"}
    best = {turn: max(range(2 * turn + 2), key=known.__getitem__) + 1 for turn in range(rounds)}
    words = Counter(word for kind, _, told in notes if kind == "told" for turn in told for word in turn)
    chain = [(move.previous, move.version) for move in ledger.moves]
    return {
        "rounds": rounds,
        "wrong champions": sum(after[turn] != best[turn] for turn in range(rounds)),
        "moves": len(chain),
        "linear": [a for a, _ in chain[1:]] == [b for _, b in chain[:-1]],
        "always better": all(a is None or known[a - 1] < known[b - 1] for a, b in chain),
        "told": dict(words),
        "exit codes": [racer.exitcode for racer in racers],
        "seconds per round": round(seconds / rounds, 3),
    }


if __name__ == "__main__":
    print(json.dumps(race(Path(sys.argv[1]).resolve(), int(sys.argv[2]), "apart" in sys.argv[3:])))
