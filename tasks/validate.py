"""The data contract applied: what passed is published, what did not is kept with its reason, and the sums are shown."""

import json
from pathlib import Path

import polars as pl
from prefect import task

from rnn_model.artefact import digest_json, open_checked, publish
from rnn_model.errors import DataError
from tasks.config import home
from tasks.contract import content_fingerprint, split_rows
from tasks.frequency import Frequency, guess_frequency, parse_frequency
from tasks.handles import Account, Dataset, Validated
from tasks.machine import code_digest
from tasks.progress import show_table
from tasks.series_config import SeriesConfig
from tasks.terminal import counted

OF_FREQUENCY = ("off the frequency", "conflicting duplicate", "coarser than the frequency", "mostly gaps")


@task
def validate(dataset: Dataset, config: SeriesConfig, need: int, context: int) -> Validated:
    """Check a data set, publish what passed under data/validated, and show the row account."""
    validated = validate_dataset(dataset, config, need, context, home() / "validated")
    account = validated.account
    show_table(
        table=[{"rows": rows, "went": went} for went, rows in account_rows(account)],
        key="row-account",
        description=f"{dataset.name}: {account.series_used} of {account.series_in} series used",
    )
    return validated


def validate_dataset(dataset: Dataset, config: SeriesConfig, need: int, context: int, root: Path) -> Validated:
    """Split a data set into used and quarantined series. `need` is the fewest points a series may have.

    Raises DataError (65) when nothing passes or more than the declared share is set aside.
    """
    open_checked(dataset.folder)
    frequency = parse_frequency(dataset.freq)
    raw = pl.read_parquet(dataset.data)
    used, quarantine, account = split_rows(raw, frequency, config.gaps, need, context)
    account = account.model_copy(update={"later": dataset.later, "notes": dataset.notes})
    stop_if_too_many(raw, quarantine, account, config, frequency, dataset)
    fingerprint = content_fingerprint(used)
    key = digest_json([fingerprint, content_fingerprint(raw), account.model_dump(), code_digest("rnn_model", "tasks")])

    def write(staging: Path) -> None:
        used.write_parquet(staging / "data.parquet")
        quarantine.write_parquet(staging / "quarantine.parquet")
        (staging / "account.json").write_text(json.dumps(account.model_dump(), indent=1))

    folder = publish(root / key[:16], write)
    clean = dataset.model_copy(
        update={
            "folder": folder,
            "fingerprint": fingerprint,
            "gaps": config.gaps,
            "rows": used.height,
            "series": account.series_used,
        }
    )
    return Validated(dataset=clean, account=account, raw=dataset.fingerprint)


def stop_if_too_many(
    raw: pl.DataFrame,
    quarantine: pl.DataFrame,
    account: Account,
    config: SeriesConfig,
    frequency: Frequency,
    dataset: Dataset,
) -> None:
    """Raise DataError when no series is left, or more than `max_quarantined` of them were set aside."""
    share = quarantine.height / max(1, account.series_in)
    if account.series_used and share <= config.max_quarantined:
        return
    worst = quarantine.group_by("rule").len().sort(["len", "rule"], descending=[True, False])
    reasons = ", ".join(f"{rule} ({count})" for rule, count in worst.iter_rows())
    at = pl.col("at").dt.strftime("%Y-%m-%d %H:%M")  # Polars', for years that Python's own dates cannot hold
    example = quarantine.with_columns(at).row(0, named=True)
    short = worst["rule"][0].startswith("shorter")
    remedy = "bring longer series, or shorten --window.horizon" if short else "mend the data"
    if account.series_used:
        remedy += f", or raise --{config.section}.max_quarantined"
    if short or worst["rule"][0] in OF_FREQUENCY:
        longest = raw.group_by("unique_id").len().sort("len", "unique_id", descending=True)["unique_id"][0]
        likely = guess_frequency(raw.filter(pl.col("unique_id") == longest)["ds"])
        if likely != "unknown" and parse_frequency(likely).rhythm != frequency.rhythm:
            own = f"give --target.freq {likely}" if config.section == "target" else "bring rows of the target's freq"
            remedy = f"the rows look like freq {likely}: {own}, or {remedy}"
    where = f"series {example['unique_id']!r} at {example['at']}"
    raise DataError(
        f"{dataset.name}: {quarantine.height} of {account.series_in} series set aside (allowed: "
        f"{config.max_quarantined:.0%}, and one must be left): {reasons}; e.g. {where}, "
        f"{counted(example['observed'], 'value')} in {counted(example['rows'], 'row')}, freq {frequency.name}; "
        f"{remedy}"
    )


def account_rows(account: Account) -> list[tuple[str, int]]:
    """The account as lines: where rows went, and how many."""
    lines = [("rows in", account.rows_in), ("used", account.used), ("used with padding", account.padded)]
    lines += [(f"quarantined: {rule}", rows) for rule, rows in account.quarantined.items()]
    lines += [("not read: later than as_of", account.later)] if account.later else []
    return [*lines, ("added to the grid", account.added), ("constant series", account.constant)]
