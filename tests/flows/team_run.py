"""One member of a team at work: the smallest run of the chain, its model made champion and fetched again.

A program that a test starts: where the servers are it knows from its environment alone. Prints what it found, as JSON.
"""

import json
from pathlib import Path

import tiny_pipeline as tiny

from tasks.champion import champion, rollback
from tasks.config import BacktestConfig, TrackingConfig, home

if __name__ == "__main__":
    path = home() / "target.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    tiny.series().write_parquet(path)
    finetune = tiny.FINETUNE.model_copy(update={"strategies": ("zero-shot",), "calibrate": False})
    outcome = tiny.carry(path, finetune=finetune, backtest=BacktestConfig(cutoffs=2, baselines=("SeasonalNaive",)))
    moved = rollback("target", 1, "to try it", TrackingConfig())
    found = [champion("target", TrackingConfig()) for _ in range(2)]
    folders = [str(each.folder) for each in found if each]
    ledgers = [str(p) for p in Path(home()).rglob("*.ledger.jsonl")]
    print(json.dumps({"run": outcome.run.run_id, "moved": moved.result, "folders": folders, "ledgers": ledgers}))
