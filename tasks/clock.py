"""Which clock times are of: the wall clock decides on days and coarser steps, absolute time (in UTC) on finer ones."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import NamedTuple
from zoneinfo import available_timezones

import polars as pl

from rnn_model.errors import ConfigError, DataError
from tasks.frequency import Frequency, parse_moment

UTC = "UTC"
OFFSET = r"([+-])([0-9]{2}):?([0-9]{2})?$"  # at the end of a text; Z has none
PARTS_OF_HOURS = {  # minutes east of UTC that no Etc/GMT zone has -> a zone that has had them all along
    270: "Asia/Kabul",
    330: "Asia/Kolkata",
    345: "Asia/Kathmandu",
    390: "Asia/Yangon",
    525: "Australia/Eucla",
    570: "Australia/Darwin",
}
CHANGES = (30, 60)  # minutes by which clocks are put forward and back
SHOWN = 3  # zones or offsets named in a note


class Clock(NamedTuple):
    """What times were written in."""

    zones: frozenset[str] = frozenset()  # of columns with a zone; empty: none has one
    offsets: frozenset[int] = frozenset()  # of texts, minutes east of UTC
    local: bool = False  # whether some have neither

    @property
    def zoned(self) -> bool:
        """Whether times are instants."""
        return bool(self.zones or self.offsets)

    @property
    def zone(self) -> str | None:
        """The one zone that all instants are of; None: there is none, or several, or offsets that change."""
        names = self.zones | {zone_of(offset) for offset in self.offsets}
        return next(iter(names)) if len(names) == 1 else None

    @property
    def words(self) -> str:
        """The zones and offsets, as a note names them."""
        named = sorted(self.zones) + [in_words(offset) for offset in sorted(self.offsets)]
        return ", ".join(named[:SHOWN]) + (" ..." if len(named) > SHOWN else "")


class Stamps(NamedTuple):
    """Times as they are worked with."""

    ds: (
        pl.Series
    )  # microseconds without a zone: wall clock, UTC for steps finer than days, or as written without a zone
    instant: pl.Series | None  # in UTC, where the times were instants
    clock: Clock


def check_zone(name: str) -> str:
    """A name of the tz database, as Polars knows it. Raises ConfigError with the nearest one."""
    known = available_timezones()  # empty on a machine without tzdata, while Polars brings its own
    try:
        pl.Series([datetime(2000, 1, 1)]).dt.replace_time_zone(name)
    except pl.exceptions.PolarsError:
        fits = False
    else:
        fits = name[:1].isalpha()  # +02:00 is no zone: it tells nothing of the other half of the year
    if fits:
        return name
    same = [zone for zone in known if zone.lower() == name.strip().lower().replace(" ", "_")]
    near = same or get_close_matches(name, known, 1) or [z for z in sorted(known) if name and z.endswith(f"/{name}")]
    hint = f"did you mean {near[0]}?" if near else "give one such as Europe/Berlin, or UTC"
    raise ConfigError(f"timezone {name!r} is no name of the tz database; {hint}")


def zone_of(offset: int) -> str | None:
    """The name of a fixed offset in minutes; None where it has none."""
    if offset == 0:
        return UTC
    if offset % 60 == 0 and -12 <= offset // 60 <= 14:
        return f"Etc/GMT{-offset // 60:+d}"  # POSIX counts to the west
    return PARTS_OF_HOURS.get(offset)


def in_words(offset: int) -> str:
    """Minutes east of UTC as +01:00."""
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"


def zoned_stamps(ds: pl.Series, frequency: Frequency, declared: str | None) -> Stamps:
    """Times of a column with a zone."""
    zone = str(getattr(ds.dtype, "time_zone", UTC))
    instant = ds.dt.convert_time_zone(UTC).dt.replace_time_zone(None)
    clock = Clock(zones=frozenset({zone}))
    wall = wall_time(instant, declared or zone) if frequency.by_day else instant
    return Stamps(wall, instant, clock)


def text_stamps(instant: pl.Series, text: pl.Series, frequency: Frequency, declared: str | None) -> Stamps:
    """Times of texts that end in an offset; the wall clock is the text without it, unless a zone is declared.

    `instant` is what was parsed, in UTC.
    """
    instant = instant.dt.replace_time_zone(None)
    minutes = pl.DataFrame({"text": text}).select(m=_minutes(pl.col("text")))["m"]
    clock = Clock(offsets=frozenset(minutes.unique().to_list()))
    if not frequency.by_day:
        return Stamps(instant, instant, clock)
    if declared:
        return Stamps(wall_time(instant, declared), instant, clock)
    both = pl.DataFrame({"instant": instant, "m": minutes})
    return Stamps(both.select(w=pl.col("instant") + pl.duration(minutes=pl.col("m")))["w"], instant, clock)


def _minutes(text: pl.Expr) -> pl.Expr:
    """Minutes east of UTC that a text ends in; 0 for Z."""
    sign = pl.when(text.str.extract(OFFSET, 1) == "-").then(-1).otherwise(1)
    hours, rest = (text.str.extract(OFFSET, n).cast(pl.Int32).fill_null(0) for n in (2, 3))
    return sign * (60 * hours + rest)


def wall_time(instant: pl.Series, zone: str) -> pl.Series:
    """What the clock of a zone shows at UTC times; the start of a day that has no midnight counts as its midnight."""
    frame = pl.DataFrame({"instant": instant}).with_columns(wall=_shown(pl.col("instant"), zone))
    midnight = pl.col("wall").dt.truncate("1d")
    odd = frame.with_columns(at=midnight).filter(pl.col("wall") != midnight)
    there = pl.col("at").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    absent = odd["at"].unique().to_frame().filter(there.is_null())["at"]
    if absent.is_empty():
        return frame["wall"]
    before = _shown(pl.col("instant") - pl.duration(microseconds=1), zone)
    starts = midnight.is_in(absent.to_list()) & (before < midnight)
    return frame.select(wall=pl.when(starts).then(midnight).otherwise("wall"))["wall"]


def _shown(instant: pl.Expr, zone: str) -> pl.Expr:
    return instant.dt.replace_time_zone(UTC).dt.convert_time_zone(zone).dt.replace_time_zone(None)


def instant_of(local: datetime, zone: str) -> datetime:
    """The UTC time at which the clock of a zone shows `local`: the first such; one it leaves out is told as before."""
    for hours in range(0, 49, 24):  # no clock has a gap on three days
        earlier = pl.Series([local - timedelta(hours=hours)])
        then = earlier.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        if then.null_count() == 0:
            found: datetime = then.dt.convert_time_zone(UTC).dt.replace_time_zone(None).item()
            return found + timedelta(hours=hours)
    return local


def moment_of(text: str, zone: str | None, by_day: bool) -> datetime:
    """A time such as `as_of` on the clock that rows are kept in: that of `zone`, or UTC for steps finer than days.

    Without a zone the text's own offset says nothing of a wall clock, and it is compared as it is written.
    """
    moment, aware = parse_moment(text)
    if not by_day:
        return moment if aware or zone is None else instant_of(moment, zone)
    if not aware:
        return moment
    if zone is None:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    shown: datetime = wall_time(pl.Series([moment]).cast(pl.Datetime("us")), zone).item()
    return shown


def in_zone(frame: pl.DataFrame, zone: str | None, columns: Sequence[str]) -> pl.DataFrame:
    """UTC times of a frame in the zone that they are handed on in; none: as they are."""
    if zone is None:
        return frame
    return frame.with_columns(pl.col(columns).dt.replace_time_zone(UTC).dt.convert_time_zone(zone))


def join_clocks(clocks: Sequence[Clock], where: str, section: str, declared: str | None) -> Clock:
    """What all parts were written in. Raises DataError where some have a zone, others none, and none is declared."""
    joint = Clock(
        frozenset().union(*(clock.zones for clock in clocks)),
        frozenset().union(*(clock.offsets for clock in clocks)),
        any(clock.local for clock in clocks),
    )
    if joint.zoned and joint.local and declared is None:
        raise DataError(
            f"{where}: files mix timestamps with and without a time zone ({joint.words}); give all of them the same, "
            f"or name the zone of those without: --{section}.timezone Europe/Berlin"
        )
    return joint


def settle(
    clock: Clock, frequency: Frequency, declared: str | None, section: str
) -> tuple[str | None, tuple[str, ...]]:
    """The zone of the times, as a data set carries it, and what a person has to know of it, 0 or 1 line."""
    if not clock.zoned:
        return declared, ()
    zone, option = declared or clock.zone, f"--{section}.timezone"
    if frequency.by_day:
        if declared:
            return zone, (f"times ({clock.words}) were converted to {zone}; its wall clock says which day it is",)
        if clock.offsets:
            return zone, (
                f"times have offsets ({clock.words}); a day is that of the wall clock, the time without its offset",
            )
        return zone, (f"times are in {clock.words}; its wall clock says which day it is",)
    if zone is None:
        return UTC, (
            f"times have several offsets or zones ({clock.words}), of which none can be the output's: forecasts are "
            f"in UTC; {option} names another",
        )
    fixed = f" ({clock.words}; {option} names another)" if clock.offsets and declared is None else ""
    note = f"times are kept and reported in UTC; forecasts are in {zone}{fixed}"
    return zone, (() if zone == UTC and clock.words in (UTC, "+00:00") else (note,))


def check_days(frame: pl.DataFrame, clock: Clock, where: str, section: str, declared: str | None) -> tuple[str, ...]:
    """Days of times that have a zone: a note where they are those of a clock that was named, and begin at no midnight.

    Raises DataError where most series begin their days at two times as far apart as a clock is put forward.
    """
    if not clock.zoned:
        return ()
    zone, minute = declared or clock.zone, pl.col("ds").dt.hour().cast(pl.Int32) * 60 + pl.col("ds").dt.minute()
    begins = frame.group_by("unique_id").agg(at=minute.unique().sort()).sort("unique_id")
    gap = pl.col("at").list.get(1, null_on_oob=True) - pl.col("at").list.get(0)
    changes = [*CHANGES, *(24 * 60 - change for change in CHANGES)]
    changing = begins.filter((pl.col("at").list.len() == 2) & gap.is_in(changes))
    option, of_zone = f"--{section}.timezone", f"on the clock of {zone}" if zone else "without their offsets"
    most = 2 * changing.height > begins.height
    for name, (early, late) in changing.head(1 if most else 0).iter_rows():
        raise DataError(
            f"{where}: series {name!r} has days that begin at {_clock(early)} and at {_clock(late)} {of_zone}, as they "
            f"do in another zone, whose clock is put forward and back; name that one, e.g. {option} Europe/Berlin"
        )
    starts = begins["at"].explode().unique().sort().to_list()
    if 0 in starts or (declared is None and zone != UTC):
        return ()
    shown = ", ".join(map(_clock, starts[:SHOWN])) + (" ..." if len(starts) > SHOWN else "")
    return (f"no day begins at midnight {of_zone} (they do at {shown}); if days are those of another, give {option}",)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
