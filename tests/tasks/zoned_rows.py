"""Rows whose times have zones, as texts and as columns, over changes of the clock: what the tests of zones read."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from tasks.handles import Dataset

Read, Refusal = Callable[..., Dataset], Callable[..., str]
HEADER = "unique_id,ds,y\n"
BERLIN, KOLKATA, SAO_PAULO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("America/Sao_Paulo")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def csv(times: Sequence[object], name: str = "a") -> str:
    return "".join(f"{name},{time},{n}\n" for n, time in enumerate(times))


def midnights(zone: ZoneInfo, first: datetime, days: int) -> list[datetime]:
    return [(first + n * DAY).replace(tzinfo=zone) for n in range(days)]


def hours(zone: ZoneInfo, first: datetime, count: int) -> list[datetime]:
    start = first.replace(tzinfo=zone).astimezone(UTC)
    return [(start + n * HOUR).astimezone(zone) for n in range(count)]


def times(dataset: Dataset) -> list[datetime]:
    return pl.read_parquet(dataset.data)["ds"].to_list()


def parquet(stamps: Sequence[datetime], zone: str, unit: str = "us") -> pl.DataFrame:
    naive = pl.Series([stamp.astimezone(UTC).replace(tzinfo=None) for stamp in stamps], dtype=pl.Datetime(unit))
    ds = naive.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return pl.DataFrame({"unique_id": ["a"] * len(stamps), "ds": ds, "y": [float(n) for n in range(len(stamps))]})


def local(stamps: Sequence[datetime]) -> list[str]:
    return [stamp.strftime("%Y-%m-%dT%H:%M:%S") for stamp in stamps]


YEAR = midnights(BERLIN, datetime(2024, 1, 1), 400)
PLAIN = [stamp.replace(tzinfo=None) for stamp in YEAR]
HOURS = hours(BERLIN, datetime(2024, 10, 26), 60)  # the clock goes back on the 27th
IN_UTC = [stamp.astimezone(UTC).replace(tzinfo=None) for stamp in HOURS]
