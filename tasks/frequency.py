"""Frequencies by their usual names, and the integer grid each one spans.

On the grid a regular series is a run of consecutive integers, so gaps, duplicates and strays are integer questions.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from rnn_model.config import LONG_SEASON
from rnn_model.errors import ConfigError

FIXED = {  # microseconds
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "D": 86_400_000_000,
    "W": 604_800_000_000,
}
MONTHS = {"MS": 1, "ME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}
ALIASES = {"T": "min", "H": "h", "d": "D", "M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "AS": "YS", "S": "s"}
SEASON = {"s": 60, "min": 1440, "h": 24, "D": 7, "B": 5, "W": 1, "MS": 12, "ME": 12, "QS": 4, "QE": 4, "YS": 1, "YE": 1}
NETWORK_SEASON = {"W": 13}  # weeks have no season in the published tables, but quarters and years still have theirs
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
YEAR = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
ANCHORS = {"W": DAYS} | dict.fromkeys(("QS", "QE", "YS", "YE"), YEAR)
ANY = "any"  # of a model that was made for every rhythm
ALLOWED = "s, min, h, D, B, W, MS, ME, QS, QE, YS, YE, also with a count (15min) or an anchor (W-MON)"


@dataclass(frozen=True)
class Frequency:
    """One step of a regular series: `count` times `unit`."""

    name: str
    unit: str
    count: int

    @property
    def by_day(self) -> bool:
        """Whether a step is a day or longer: the wall clock decides on it, else absolute time does."""
        return self.unit not in ("s", "min", "h")

    @property
    def season(self) -> int:
        """Steps of the season that metrics and the seasonal naive use, by the field's convention; 1 where none."""
        season = SEASON[self.unit]
        return season // self.count if self.count < season and season % self.count == 0 else 1

    @property
    def periods(self) -> tuple[int, int]:
        """Short and long season in steps, as the network is told; equal where there is one."""
        season = NETWORK_SEASON.get(self.unit, self.season) if self.count == 1 else self.season
        return season, LONG_SEASON.get(season, season)

    def network_periods(self, season: int | None) -> tuple[int, int]:
        """As `periods`, for a season that was stated: one of these, or the convention's, changes nothing."""
        return self.periods if season in (None, self.season, *self.periods) else (season, season)

    @property
    def rhythm(self) -> tuple[str, int]:
        """What two frequencies share when they differ in their anchor alone: MS and ME, W-MON and W-SUN."""
        return ("month", MONTHS[self.unit] * self.count) if self.unit in MONTHS else (self.unit, self.count)


def parse_frequency(text: str) -> Frequency:
    """`15min`, `W-MON`, `QS` ... as a Frequency. Raises ConfigError with the names allowed."""
    match = re.fullmatch(r"([0-9]{0,6})([A-Za-z]+)(?:-([A-Z]{3}))?", text.strip())
    unit = ALIASES.get(match[2], match[2]) if match else ""
    count = int(match[1] or 1) if match else 0
    known = unit in SEASON and count >= 1 and not (unit == "B" and count > 1)
    if not match or not known or (match[3] and match[3] not in ANCHORS.get(unit, ())):
        raise ConfigError(f"freq {text!r} is not known; allowed: {ALLOWED}")
    return Frequency(text.strip(), unit, count)


def parse_moment(text: str) -> tuple[datetime, bool]:
    """An ISO 8601 date (its midnight) or time -> without its offset, in UTC where it had one, and whether it had one.

    Raises ConfigError.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None), moment.tzinfo is not None
    except (ValueError, OverflowError):
        raise ConfigError(f"{text!r} is no ISO 8601 time; give one such as 2024-03-01 or 2024-03-01T06:00") from None


def stated_periods(freq: str, season: int | None) -> tuple[int, int]:
    """Short and long season of a frequency by name, for a season that was stated or none; of any: that one, or 1."""
    return (season or 1, season or 1) if freq == ANY else parse_frequency(freq).network_periods(season)


def anchor_day(ds: pl.Expr) -> pl.Expr:
    """The day of the month that a series' rows stand on, one Int8 for all of them: 31 where they are months' ends.

    Short months clip the day, so one row does not tell: 28 February is the 28th, the 29th, the 30th or a month's end.
    Only the largest day can fit all rows. Where it does not, the commonest is told, so that the strays are named.
    """
    largest = ds.dt.day().max()
    fits = (ds.dt.day() == pl.min_horizontal(largest, _month_days(ds))).all()
    return (
        pl.when(_ends_month(ds).all())
        .then(pl.lit(31, pl.Int8))
        .when(fits)
        .then(largest)
        .otherwise(ds.dt.day().mode().max())
    )


def grid_position(frequency: Frequency, ds: pl.Expr, first: pl.Expr, day: pl.Expr | None = None) -> pl.Expr:
    """Steps from `first` to `ds` on the grid through `first`, Int64; null where `ds` is off that grid.

    `day`: the `anchor_day` of months, quarters and years; none: that of `first` alone.
    """
    if frequency.unit in FIXED:
        step, gap = FIXED[frequency.unit] * frequency.count, (ds - first).dt.total_microseconds()
        return pl.when(gap % step == 0).then(gap // step)
    if frequency.unit == "B":
        days = pl.business_day_count(first.dt.date(), ds.dt.date()).cast(pl.Int64)
        return pl.when((ds.dt.weekday() <= 5) & (ds.dt.time() == first.dt.time())).then(days)
    step = MONTHS[frequency.unit] * frequency.count
    months = (_month(ds) - _month(first)).cast(pl.Int64)
    same_day = ds.dt.day() == pl.min_horizontal(_day_of(first) if day is None else day, _month_days(ds))
    aligned = same_day & (ds.dt.time() == first.dt.time()) & (months % step == 0)
    return pl.when(aligned).then(months // step)


def grid_time(frequency: Frequency, first: pl.Expr, position: pl.Expr, day: pl.Expr | None = None) -> pl.Expr:
    """The timestamp `position` steps after `first` on the grid: the inverse of `grid_position`, with the same `day`."""
    if frequency.unit in FIXED:
        return first + pl.duration(microseconds=position.cast(pl.Int64) * (FIXED[frequency.unit] * frequency.count))
    if frequency.unit == "B":
        return first.dt.add_business_days(position)
    months = pl.format("{}mo", position * (MONTHS[frequency.unit] * frequency.count))
    moved = first.dt.month_start().dt.offset_by(months)  # the time of day stays
    past = pl.min_horizontal(_day_of(first) if day is None else day, _month_days(moved)).cast(pl.Int64) - 1
    return moved + pl.duration(days=past)


def guess_frequency(ds: pl.Series) -> str:
    """The likeliest name for a sorted run of timestamps, for an error's hint; 'unknown' where nothing fits."""
    best, score = "unknown", 0.5
    frame = ds.unique().sort().to_frame("ds")
    for name in ("s", "min", "15min", "30min", "h", "D", "B", "W", "MS", "ME", "QS", "QE", "YS", "YE"):
        frequency = parse_frequency(name)
        own = pl.col("ds")
        position = frame.select(p=grid_position(frequency, own, own.first(), anchor_day(own)))["p"]
        share = float((position.diff() == 1).sum()) / max(1, len(position) - 1)
        if share > score:
            best, score = name, share
    return best


def _month(ds: pl.Expr) -> pl.Expr:
    return ds.dt.year().cast(pl.Int32) * 12 + ds.dt.month().cast(pl.Int32)


def _month_days(ds: pl.Expr) -> pl.Expr:
    return ds.dt.month_end().dt.day()


def _ends_month(ds: pl.Expr) -> pl.Expr:
    return ds.dt.day() == _month_days(ds)


def _day_of(first: pl.Expr) -> pl.Expr:
    return pl.when(_ends_month(first)).then(pl.lit(31, pl.Int8)).otherwise(first.dt.day())


def in_range(ds: pl.Expr) -> pl.Expr:
    """Years 1700 to 2200: what every library downstream can hold."""
    return ds.is_between(datetime(1700, 1, 1), datetime(2200, 1, 1))
