"""What a row costs before the network sees it: python benchmarks/scaling.py [--rows 1000000] [--points 1000]

Hourly series of a file are ingested, validated and cut into windows. For each stage: processor seconds, rows a second
of processor time, the process's peak memory so far, and bytes a row on disk.
"""

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

from tasks.config import BacktestConfig, WindowConfig
from tasks.ingest import ingest_files
from tasks.series_config import TargetConfig
from tasks.validate import validate_dataset
from tasks.window import window_dataset


def write_series(path: Path, rows: int, points: int) -> None:
    """Long hourly series of `points` each: a daily season and noise."""
    rng, count = np.random.default_rng(0), rows // points
    time_of = [datetime(2020, 1, 1) + timedelta(hours=n) for n in range(points)]
    season = np.sin(np.arange(points) * 2 * np.pi / 24)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat([f"series-{n:07}" for n in range(count)], points),
            "ds": pl.Series(time_of * count),
            "y": (season + rng.normal(5, 0.3, (count, points))).ravel(),
        }
    )
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)


def size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(rows: int, points: int) -> None:
    """Every stage on a Parquet file, and reading once more from CSV."""
    print(f"{rows} rows of {rows // points} series")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)

        def told(stage: str, began: float, folder: Path) -> None:
            seconds = time.process_time() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{stage:<18}{seconds:7.1f} s  {rows / seconds:>12,.0f} rows/s  peak {peak:6.0f} MB  "
                f"{size(folder) / rows:5.1f} bytes/row"
            )

        for kind in ("parquet", "csv"):
            path = root / f"rows.{kind}"
            with ProcessPoolExecutor(1, get_context("spawn")) as aside:  # so that its memory is not counted
                aside.submit(write_series, path, rows, points).result()
            config = TargetConfig(path=str(path), freq="h")
            began = time.process_time()
            raw = ingest_files(config, "rows", root / "raw")
            told(f"ingest {kind}", began, raw.folder)
        began = time.process_time()
        validated = validate_dataset(raw, config, 27, 256, root / "validated")
        told("validate", began, validated.dataset.folder)
        began = time.process_time()
        windows = window_dataset(validated.dataset, WindowConfig(), BacktestConfig(), root / "windows")
        told("window", began, windows.folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=1000)
    arguments = parser.parse_args()
    main(arguments.rows, arguments.points)
