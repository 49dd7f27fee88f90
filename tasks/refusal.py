"""Why a data set is refused, in one line: how many series, which rules, an example, and what to do."""

from typing import NamedTuple

import polars as pl

from rnn_model.errors import DataError
from tasks.frequency import Frequency, guess_frequency, parse_frequency
from tasks.terminal import counted

OF_FREQUENCY = ("off the frequency", "conflicting duplicate", "coarser than the frequency", "mostly gaps")


class Allowed(NamedTuple):
    """What a refusal holds the faulty series against."""

    share: float  # of the series that may be faulty
    some_left: bool  # whether any series is left: if none is, a larger share would not help
    section: str = "target"  # prefix of the options


def refusal(what: str, raw: pl.DataFrame, faulty: pl.DataFrame, frequency: Frequency, allowed: Allowed) -> DataError:
    """The error for `what` ("sales: 3 of 4 series set aside"). `raw`: unique_id, ds, y as read, sorted; `faulty`: one
    line for each series, as `contract.check` has it."""
    worst = faulty.group_by("rule").len().sort(["len", "rule"], descending=[True, False])
    reasons = ", ".join(f"{rule} ({count})" for rule, count in worst.iter_rows())
    return DataError(
        f"{what} (allowed: {allowed.share:.0%}, and one must be left): {reasons}; e.g. {example(faulty)}, "
        f"freq {frequency.name}; {remedy(worst['rule'][0], raw, frequency, allowed)}"
    )


def example(faulty: pl.DataFrame) -> str:
    """The first faulty series, where it breaks its rule, and how much it holds."""
    ((name, where),) = places(faulty.head(1)).items()
    return f"series {name!r} {where}"


def places(faulty: pl.DataFrame) -> dict[str, str]:
    """Series -> where it breaks its rule first, and how much it holds."""
    at = pl.col("at").dt.strftime("%Y-%m-%d %H:%M")  # Polars', for years that Python's own dates cannot hold
    lines = faulty.select("unique_id", at, "observed", "rows").iter_rows()
    return {name: f"at {time}, {counted(seen, 'value')} in {counted(rows, 'row')}" for name, time, seen, rows in lines}


def two_starts(raw: pl.DataFrame) -> tuple[str, str] | None:
    """The two times of day at which the longest series has its rows, if they are an hour apart."""
    longest = raw.group_by("unique_id").len().sort("len", "unique_id", descending=True)["unique_id"][0]
    clock = pl.col("ds").dt
    minutes = raw.filter(pl.col("unique_id") == longest).select(m=clock.hour().cast(pl.Int32) * 60 + clock.minute())[
        "m"
    ]
    found = minutes.unique().sort().to_list()
    if len(found) != 2 or found[1] - found[0] not in (60, 23 * 60):
        return None
    return f"{found[0] // 60:02d}:{found[0] % 60:02d}", f"{found[1] // 60:02d}:{found[1] % 60:02d}"


def remedy(worst: str, raw: pl.DataFrame, frequency: Frequency, allowed: Allowed) -> str:
    """What to do about the rule that most of the series break."""
    worst = worst.partition("; ")[0]  # without why the fallback has no answer either
    short = worst.startswith("shorter")
    words = "bring longer series, or shorten --window.horizon" if short else "mend the data"
    if allowed.some_left:
        words += f", or raise --{allowed.section}.max_quarantined"
    if worst == "conflicting duplicate":
        words = f"say which of them counts, --{allowed.section}.duplicates first, last or mean, or {words}"
        if not frequency.by_day:
            words = f"if a clock was put back there, name its zone by --{allowed.section}.timezone, or {words}"
        return words
    if worst == "off the frequency" and frequency.by_day and (two := two_starts(raw)):
        return (
            f"days begin at {two[0]} and at {two[1]}, as in a zone whose clock is put forward and back: if the times "
            f"are in UTC, write them with Z and name the zone by --{allowed.section}.timezone, or {words}"
        )
    if short or worst in OF_FREQUENCY:
        longest = raw.group_by("unique_id").len().sort("len", "unique_id", descending=True)["unique_id"][0]
        likely = guess_frequency(raw.filter(pl.col("unique_id") == longest)["ds"])
        if likely != "unknown" and parse_frequency(likely).rhythm != frequency.rhythm:
            own = f"give --target.freq {likely}" if allowed.section == "target" else "bring rows of the target's freq"
            words = f"the rows look like freq {likely}: {own}, or {words}"
    return words
