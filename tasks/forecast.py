"""The forecast stage: a model pinned, every series answered, and the answers published as one set with a log line."""

from pathlib import Path

import polars as pl
import yaml

from rnn_model.artefact import open_checked, write_file
from rnn_model.checkpoint import ModelCard, load_known
from rnn_model.config import HORIZON_LIMIT
from rnn_model.errors import ConfigError, IntegrityError
from rnn_model.forecasting import check_horizon
from rnn_model.json_file import parse_json
from rnn_model.network import Network
from rnn_model.private import as_the_user_asks
from tasks.addresses import REGISTERED
from tasks.answers import Answers, Asked, answer_series
from tasks.batches import CSV, LEFT_OUT, Edition, csv_bytes, intact, notes_of, parquet_bytes, publish_edition
from tasks.champion import champion
from tasks.checks import check_name
from tasks.clock import in_zone, moment_of
from tasks.config import ForecastConfig, HorizonConfig, StepsConfig, TrackingConfig
from tasks.connection import whole_run_id
from tasks.download import INSIDE, SIGNED
from tasks.forecast_log import Batch, read_log
from tasks.forecaster import check_freq
from tasks.frequency import ANY, parse_frequency, parse_moment, stated_periods
from tasks.handles import CHAMPION, Dataset, Forecast, Pinned
from tasks.progress import show_table
from tasks.refusal import Allowed, places, refusal
from tasks.registry import Contents, checked, contents, named_version, registry_name, run_key, store
from tasks.series_config import TargetConfig
from tasks.step import step
from tasks.terminal import counted
from tasks.tracking import fetch_model

SIGNED_LIMIT = 2**20  # bytes


@step
def pin_model(name: str, target: str, tracking: TrackingConfig) -> Pinned:
    """As `pin`."""
    return pin(name, target, tracking)


@step
def publish_forecasts(
    dataset: Dataset, target: TargetConfig, pinned: Pinned, steps: StepsConfig, config: ForecastConfig, force: bool
) -> Forecast:
    """As `forecast_dataset`; the flow run shows what was published."""
    made = forecast_dataset(dataset, target, pinned, steps, config, force)
    rows = [{"path": path, "series": count} for path, count in made.paths.items()]
    words = f"{made.target}, {counted(made.horizon, 'step')} by {made.model}: {made.sentence}"
    show_table(table=rows, key="forecast", description=words)
    return made


@step
def copy_forecast(made: Forecast, output: Path) -> Forecast:
    """The published forecasts once more, as the Parquet or CSV file that was asked for. Raises WriteError."""
    frame = pl.read_parquet(open_checked(made.folder) / made.data.name)
    with as_the_user_asks():
        write_file(output, csv_bytes(frame) if output.suffix.lower() == ".csv" else parquet_bytes(frame))
    return made.model_copy(update={"output": output})


def pin(name: str, target: str, tracking: TrackingConfig) -> Pinned:
    """The model behind a name, by its version where it is registered, its files and weights checked.

    `champion` is the registered @champion of the target. Raises IntegrityError where there is none, or where a version
    was deleted, never became READY, or its files are gone or changed; ConfigError for a name that leads nowhere.
    """
    if asked := REGISTERED.fullmatch(name):
        check_name(name)
    if name == CHAMPION or (asked and asked[3] == CHAMPION):
        registered = asked[1] if asked else registry_name(target)
        found = champion(registered, tracking)
        if found is None:
            if asked:
                with store(tracking) as client:
                    named_version(client, *asked.groups())  # says what there is
            raise IntegrityError(
                f"model {registered} has no champion yet; carryover run promotes one where the gate says so, carryover "
                f"rollback {registered} --version N names one, and --model base needs none"
            )
        registered, number = found.name, found.version
        made = contents(found.folder)._replace(notes=found.notes)
        if (made.weights, made.content) != (found.weights, found.content):
            raise IntegrityError(f"{found.folder}: changed since it was looked up; run it again")
    elif asked:
        registered = asked[1]
        with store(tracking) as client:
            number = named_version(client, *asked.groups())
            made = checked(client, registered, number, tracking)
    else:
        address = name if Path(name).is_dir() else whole_run_id(name, tracking)  # the log outlives a short one
        return pinned(address, None, contents(fetch_model(address, tracking)))
    return pinned(f"models:/{registered}/{number}", number, made)


def pinned(address: str, version: int | None, made: Contents) -> Pinned:
    """What forecasts a batch, by what lies in its folder."""
    about = {"folder": made.folder, "weights": made.weights, "content": made.content, "notes": made.notes}
    return Pinned(address=address, version=version, horizon=own_horizon(made.folder, made.card), **about)


def own_horizon(folder: Path, card: ModelCard) -> int:
    """The horizon a model was made for, by its card; by an older card, what it was logged with, else the usual one.

    A network that was tuned decodes as many steps as its parent, so what an older card says of that tells nothing;
    nor does the card of one for every frequency.
    """
    if card.tuned_for is not None:
        return card.tuned_for
    if card.freq != ANY and "parent" not in card.lineage:
        return card.horizon
    return signed_horizon(folder) or min(card.horizon, HorizonConfig().horizon)


def signed_horizon(folder: Path) -> int | None:
    """What MLflow's file about a logged model, two folders above it, says; None where there is none.

    Raises IntegrityError for one that cannot be read.
    """
    signed = folder.parents[1] / SIGNED
    if folder.parts[-2:] != INSIDE.parts or not signed.is_file():
        return None
    try:
        if signed.stat().st_size > SIGNED_LIMIT:
            raise ValueError
        params = parse_json(yaml.safe_load(signed.read_text())["signature"]["params"])
        return HorizonConfig(horizon=next(p["default"] for p in params if p["name"] == "horizon")).horizon
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError, yaml.YAMLError):
        raise IntegrityError(
            f"{signed}: names no horizon from 1 to {HORIZON_LIMIT}; log the model anew, or give its folder"
        ) from None


def horizon_notes(pinned: Pinned, card: ModelCard) -> tuple[str, ...]:
    """What to say where nothing tells the horizon that a model was tuned for."""
    if card.tuned_for is not None or "parent" not in card.lineage or signed_horizon(pinned.folder) is not None:
        return ()
    return (
        f"the model's card is of format {card.format}, which does not tell how far it was tuned for; {pinned.horizon} "
        "steps are taken, --window.horizon N sets another number",
    )


def forecast_dataset(
    dataset: Dataset, target: TargetConfig, pinned: Pinned, steps: StepsConfig, config: ForecastConfig, force: bool
) -> Forecast:
    """Answer every series of a data set by one model, publish the answers, and add them to the target's log.

    What was published once (equal data, settings, weights and code) and is intact is not made again, unless by `force`.
    Raises DataError, ConfigError or IntegrityError; what was published before stands in any case.
    """
    network, card = opened(pinned, dataset)
    if target.as_of is not None:
        check_known_then(card, dataset, target)
    horizon = steps.horizon or pinned.horizon
    check_horizon(card.horizon, horizon)
    edition = Edition(
        name=target.title,
        key=forecast_key(dataset, pinned, card, horizon, config, target),
        dataset=dataset,
        pinned=pinned,
        horizon=horizon,
        as_of=target.as_of,
        csv=config.csv,
        force=force,
    )
    notes = dataset.notes + pinned.notes + (() if steps.horizon else horizon_notes(pinned, card))
    known = read_log(target.title).made(edition.key)
    if known and not force and intact(known):
        return told(known, "already", config.csv, notes)
    rows = pl.read_parquet(open_checked(dataset.folder) / dataset.data.name)
    answers = answer_series(network, card, rows, dataset, Asked(horizon, config, target.age))
    stop_if_too_many(dataset, rows, answers, target.max_quarantined)
    batch, result = publish_edition(edition, answers)
    return told(batch, result, config.csv, notes)


def opened(pinned: Pinned, dataset: Dataset) -> tuple[Network, ModelCard]:
    """The pinned network, and its card in the rhythm of the data. Raises ConfigError where the two do not go together,
    IntegrityError where the files are no longer those that were pinned."""
    network, card = load_known(pinned.folder, pinned.weights, pinned.content)
    if card.freq == ANY:
        card = card.model_copy(update={"freq": dataset.freq, "periods": dataset.periods, "gaps": dataset.gaps})
    check_freq(card, dataset.freq)
    check_same(card, dataset)
    return network, card


def check_same(card: ModelCard, dataset: Dataset) -> None:
    """A model forecasts as it was trained; an option that says otherwise is refused. Raises ConfigError."""
    if card.gaps != dataset.gaps:
        raise ConfigError(
            f"the model was made with gaps {card.gaps}, the target has {dataset.gaps}; use --target.gaps {card.gaps}"
        )
    if card.periods == dataset.periods:
        return
    wanted = [s for s in (None, card.periods[0]) if stated_periods(dataset.freq, s) == card.periods]
    remedy = "make the model anew, no option states these"
    if wanted:
        remedy = f"use --target.season {wanted[0]}" if wanted[0] else "leave out --target.season"
    made, given = (" in ".join(map(str, sorted(set(periods)))) for periods in (card.periods, dataset.periods))
    raise ConfigError(f"the model was made with season {made}, the target has {given}; {remedy}")


def check_known_then(card: ModelCard, dataset: Dataset, target: TargetConfig) -> None:
    """Refuse a model that was fitted or chosen on a series of the target after `as_of`. Raises ConfigError."""
    moment = moment_of(str(target.as_of), dataset.timezone, parse_frequency(dataset.freq).by_day)
    names = pl.read_parquet(open_checked(dataset.folder) / dataset.data.name, columns=["unique_id"])["unique_id"]
    for name in names.unique().sort():
        if name in card.seen and parse_moment(card.seen[name])[0] > moment:
            raise ConfigError(
                f"the model has seen series {name!r} up to {card.seen[name]}, after as_of {target.as_of}; use a "
                f"version from before (--model models:/{registry_name(target.title)}/N) or --model base"
            )


def forecast_key(
    dataset: Dataset, pinned: Pinned, card: ModelCard, horizon: int, config: ForecastConfig, target: TargetConfig
) -> str:
    """What a set of forecasts is known by: equal keys, equal forecasts. A CSV beside them changes none.

    `as_of` changes none either, but the log says it of a batch, and who looks back goes by it.
    """
    asked = {"horizon": horizon, "season": dataset.season, "freq": dataset.freq, "version": pinned.version}
    asked |= {"as_of": target.as_of, "ended": target.ended, "max_age": target.max_age}
    asked |= config.model_dump(exclude={"csv"}) | {"card": card.model_dump(mode="json")}
    asked |= {"zone": dataset.output_zone}
    return run_key(f"{dataset.fingerprint} {pinned.weights}", asked)


def stop_if_too_many(dataset: Dataset, rows: pl.DataFrame, answers: Answers, allowed: float) -> None:
    """Raise DataError when no series has a forecast, or more than the declared share have none because of a fault."""
    faulty, series = answers.unanswered, rows["unique_id"].n_unique()
    if answers.forecasts.height and faulty.height / series <= allowed:
        return
    what = f"{dataset.name}: {faulty.height} of {series} series cannot be forecast"
    some_left = bool(answers.forecasts.height)
    faulty = in_zone(faulty, dataset.output_zone, ["at"])
    raise refusal(what, rows, faulty, parse_frequency(dataset.freq), Allowed(allowed, some_left))


def told(batch: Batch, result: str, csv: bool, notes: tuple[str, ...]) -> Forecast:
    """A batch as the flow hands it on."""
    when = batch.time[:16].replace("T", " ")
    sentence = {
        "published": f"published as {batch.folder}",
        "mended": f"published on {when} UTC; its files were gone or changed, and are made again as {batch.folder}",
        "already": f"nothing to do: published as {batch.folder} on {when} UTC",
    }[result]
    if csv and not (batch.folder / CSV).is_file():
        sentence += f", without {CSV}; --output FILE.csv writes one"
    lines = pl.read_parquet(batch.folder / LEFT_OUT)
    where = places(lines)
    rules = lines.select("unique_id", "path", "rule").iter_rows()
    return Forecast.model_validate(
        {
            "result": result,
            "sentence": sentence,
            "notes": (*notes, *notes_of(batch)),
            "left_out": {series: f"{path}: {rule}, {where[series]}" for series, path, rule in rules},
            **batch.model_dump(include={"target", "folder", "model", "horizon", "series", "rows", "paths"}),
        }
    )
