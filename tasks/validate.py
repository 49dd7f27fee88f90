"""The data contract applied: what passed is published, what did not is kept with its reason, and the sums are shown."""

import json
from pathlib import Path

import polars as pl

from rnn_model.artefact import digest_json, open_checked, publish
from tasks.clock import in_zone
from tasks.config import home
from tasks.contract import content_fingerprint, split_rows
from tasks.ended import ENDED
from tasks.frequency import parse_frequency
from tasks.handles import Account, Dataset, Validated
from tasks.machine import code_digest
from tasks.progress import show_table
from tasks.refusal import Allowed, refusal
from tasks.series_config import SeriesConfig
from tasks.step import step


@step
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
    used, quarantine, account = split_rows(raw, frequency, config.gaps, need, context, config.age)
    account = with_merged(account, dataset, config)
    account = account.model_copy(update={"later": dataset.later, "notes": (*dataset.notes, *account.notes)})
    stop_if_too_many(raw, quarantine, account, config, dataset)
    fingerprint = content_fingerprint(used)
    key = digest_json(
        [
            fingerprint,
            content_fingerprint(raw),
            account.model_dump(exclude={"notes"}),
            code_digest("rnn_model", "tasks"),
        ]
    )

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


def with_merged(account: Account, dataset: Dataset, config: SeriesConfig) -> Account:
    """The account with the rows of one time of which one counts; they left when the rows were read."""
    if not dataset.merged:
        return account
    rule = f"conflicting duplicate, where the {config.duplicates} counts"
    return account.model_copy(
        update={
            "rows_in": account.rows_in + dataset.merged,
            "quarantined": account.quarantined | {rule: dataset.merged},
        }
    )


def stop_if_too_many(
    raw: pl.DataFrame, quarantine: pl.DataFrame, account: Account, config: SeriesConfig, dataset: Dataset
) -> None:
    """Raise DataError when no series is left, or more than `max_quarantined` of them break a rule.

    A series that ended is not at fault, and does not count.
    """
    faulty = quarantine.filter(pl.col("rule") != ENDED)
    if account.series_used and faulty.height / account.series_in <= config.max_quarantined:
        return
    what = f"{dataset.name}: {faulty.height} of {account.series_in} series set aside"
    allowed = Allowed(config.max_quarantined, bool(account.series_used), config.section)
    faulty = in_zone(faulty, dataset.output_zone, ["at"])
    raise refusal(what, raw, faulty, parse_frequency(dataset.freq), allowed)


def account_rows(account: Account) -> list[tuple[str, int]]:
    """The account as lines: where rows went, and how many."""
    lines = [("rows in", account.rows_in), ("used", account.used), ("used with padding", account.padded)]
    lines += [(f"quarantined: {rule}", rows) for rule, rows in account.quarantined.items()]
    lines += [("not read: later than as_of", account.later)] if account.later else []
    return [*lines, ("added to the grid", account.added), ("constant series", account.constant)]
