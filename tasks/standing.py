"""Whom a challenger has to beat tonight: the champion, if it can be asked the same questions."""

import polars as pl

from rnn_model.artefact import open_checked
from rnn_model.checkpoint import ModelCard
from rnn_model.errors import ConfigError, IntegrityError
from rnn_model.forecasting import check_horizon
from tasks.champion import champion
from tasks.config import NOTHING, GateConfig, TrackingConfig
from tasks.forecaster import check_freq
from tasks.handles import CHAMPION, Dataset, Model, Standing, WindowSet
from tasks.registry import contents
from tasks.step import step
from tasks.tracking import fetch_model
from tasks.window import check_unseen, open_windows

SHARED = 0.5  # of the series that a champion has seen, and of those that are there now: with fewer it is another target


@step
def name_champion(
    target: str, dataset: Dataset, handle: WindowSet, gate: GateConfig, tracking: TrackingConfig
) -> Standing:
    """The champion of a target, pinned before anything is compared; or the model that `gate.champion` names.

    One that cannot stand in this test (another target, or it has seen the answers) is refused with the reason, which
    the gate repeats; nothing is promoted over it. Raises IntegrityError for one that is damaged.
    """
    if gate.champion == NOTHING:
        return Standing()
    if gate.champion is not None:
        return stand(Standing(address=gate.champion), *loaded(gate.champion, tracking), dataset, handle)
    found = champion(target, tracking)
    if found is None:
        return Standing()
    model, card = loaded(str(found.folder), tracking)
    if (model.weights, model.content) != (found.weights, found.content):
        raise IntegrityError(f"{found.folder}: changed since it was looked up; run it again")
    return stand(
        Standing(champion=found, address=f"models:/{found.name}/{found.version}"), model, card, dataset, handle
    )


def loaded(name: str, tracking: TrackingConfig) -> tuple[Model, ModelCard]:
    """A model by any of its names, as it enters the backtest, and its card."""
    folder = fetch_model(name, tracking)
    made = contents(folder)
    about = {"weights": made.weights, "content": made.content, "context": made.card.model.context}
    return Model(folder=folder, strategy=CHAMPION, **about), made.card


def stand(known: Standing, model: Model, card: ModelCard, dataset: Dataset, handle: WindowSet) -> Standing:
    """The standing with its model, or with the reason why it cannot be compared."""
    rows = pl.read_parquet(open_checked(dataset.folder) / "data.parquet")
    windows, split = open_windows(handle)
    title = known.address or CHAMPION
    try:
        check_horizon(card.horizon, handle.horizon)
        check_same_target(card, handle, rows["unique_id"].unique().to_list())
        check_unseen(card.seen, windows, split, rows)
    except ConfigError as error:
        return known.model_copy(update={"refused": f"{title} cannot be compared: {error}"})
    return known.model_copy(update={"model": model})


def check_same_target(card: ModelCard, handle: WindowSet, series: list[str]) -> None:
    """Refuse a model that was made for another target: another rhythm, or other series. Raises ConfigError."""
    check_freq(card, handle.freq)
    if card.seen and (tuple(card.periods), card.gaps) != (tuple(handle.periods), handle.gaps):
        raise ConfigError(
            f"it was made for seasons {card.periods} and gaps {card.gaps!r}, the target has {handle.periods} and "
            f"{handle.gaps!r}; give the target's file another name to start anew"
        )
    shared = len(set(card.seen) & set(series))
    if card.seen and shared < SHARED * max(len(card.seen), len(series)):
        raise ConfigError(
            f"it has seen {len(card.seen)} series, the target has {len(series)}, and only {shared} in both; "
            "give the target's file another name to start anew"
        )
