"""Fine-tuning: the strategies compete on validation windows that end before the first test cutoff."""

import math
from collections.abc import Callable, Sequence

import polars as pl

from rnn_model.artefact import digest_json
from rnn_model.calibration import Calibration
from rnn_model.checkpoint import ModelCard, content_digest, load_known, save_model, weights_digest
from rnn_model.config import Strategy
from rnn_model.errors import ConfigError
from rnn_model.training import Material
from rnn_model.transfer import COMBINED, Candidate, combine, select, tune, tuned_rate
from rnn_model.validation import validate
from rnn_model.windows import (
    HELD_OUT,
    LEAST_HISTORY,
    VALIDATED,
    Batch,
    Ints,
    Split,
    Windows,
    held_out_batches,
    load_windows,
)
from tasks.config import FinetuneConfig, home
from tasks.forecaster import calibrate_network, check_freq
from tasks.handles import Contender, Dataset, Model, Run, Selection, WindowSet
from tasks.progress import show_table, training_progress, training_record
from tasks.step import step
from tasks.terminal import counted
from tasks.tracking import child, log_metrics, log_params, set_tags
from tasks.window import open_windows

FEWEST_WINDOWS = 10  # with fewer training windows nothing is tuned


@step
def finetune_model(
    dataset: Dataset, handle: WindowSet, base: Model, config: FinetuneConfig, seed: int, parent: Run
) -> Selection:
    """Make every candidate, log each as a run of its own, and choose one on the validation windows."""
    windows, split = open_windows(handle)
    network, card = load_known(base.folder, base.weights, base.content)
    check_rhythm(card, handle)
    card = target_card(card, base, dataset, handle, last_times(dataset, windows, split.tuning(windows).end))
    strategies, reason = allowed_strategies(windows, split, handle, config, card.members)
    training, tuning = split.training(windows), split.tuning(windows)
    context = card.model.context
    judging, validated = split.choosing_index(), split.validation_index()
    stopping = tuning.batches(split.stopping_index().thinned(VALIDATED), context, handle.horizon)
    choosing = tuning.batches(judging, context, handle.horizon)
    corpus = load_windows(base.corpus) if base.corpus else None
    held_out = held_out_batches(corpus, context, handle.horizon, seed) if corpus else []
    draw = drawing(training, corpus, config, (context, handle.horizon, split.history), seed)
    material = Material(draw, stopping, choosing)
    made: dict[Strategy, Candidate] = {}
    contenders: list[Contender] = []
    for strategy in strategies:
        with child(parent, strategy, "candidate", {"carryover.strategy": strategy}) as run:
            own = {"candidate": strategy, "learning_rate": tuned_rate(config, strategy), "seed": seed}
            log_params(run, own | {"finetune": config.model_dump(mode="json")})
            set_tags(run, {"data.source": base.corpus.name} if base.corpus else {})
            if strategy in COMBINED:
                candidate = combine(strategy, made, material)
            elif strategy == "zero-shot":
                candidate = tune(network, strategy, material, config, seed)
            else:
                with training_progress(run, f"fine-tune {strategy}", config.steps) as watch:
                    candidate = tune(network, strategy, material, config, seed, watch)
            made[strategy] = candidate
            known = (
                calibrate_network(candidate.network, tuning, validated, handle.horizon) if config.calibrate else None
            )
            contenders.append(keep(candidate, card, run, held_out, known))
            log_calibration(run, known)
            log_metrics(run, {"val/best_loss": candidate.validation_loss})
            if contenders[-1].source_loss is not None:
                log_metrics(run, {"val/source_loss": contenders[-1].source_loss})
            made_model = contenders[-1].model
            set_tags(run, {"carryover.weights": made_model.weights, "carryover.content": made_model.content})
    choice = select(list(made.values()), judging.series)
    reason = reason or choice.reason
    if "ensemble" in config.strategies and card.members > 1:
        reason += "; no ensemble was made, as the model that this starts from is one"
    selection = Selection(contenders=tuple(contenders), chosen=choice.candidate.strategy, reason=reason)
    set_tags(parent, {"carryover.chosen": selection.chosen, "carryover.why": selection.reason})
    show(selection)
    return selection


def allowed_strategies(
    windows: Windows, split: Split, handle: WindowSet, config: FinetuneConfig, members: int
) -> tuple[tuple[Strategy, ...], str]:
    """The declared strategies, zero-shot first and COMBINED last; zero-shot alone on very small data, and why.

    `members` are those of the pretrained network: of several no larger ensemble is made, or it would grow with every
    tuning.
    """
    count = split.training(windows).count(split.history, handle.horizon)
    validation = min(len(split.stopping_index().series), len(split.choosing_index().series))
    if count < FEWEST_WINDOWS or not validation:
        why = f"{count} training and {validation} validation windows; tuning needs {FEWEST_WINDOWS} and 1"
        return ("zero-shot",), f"zero-shot, because the target is too small to tune on: {why}"
    left_out = ("zero-shot", "ensemble") if members > 1 else ("zero-shot",)
    rest = [s for s in dict.fromkeys(config.strategies) if s not in left_out]
    single, combined = [s for s in rest if s not in COMBINED], [s for s in COMBINED if s in rest]
    return ("zero-shot", *single, *combined), ""


def check_rhythm(card: ModelCard, handle: WindowSet) -> None:
    """A model made for another frequency, or for shorter horizons, is refused. Raises ConfigError."""
    check_freq(card, handle.freq)
    if handle.horizon > card.horizon:
        raise ConfigError(
            f"the model decodes {counted(card.horizon, 'step')}, the target asks for {handle.horizon}; "
            "shorten --window.horizon, or pretrain one by carryover run with --pretrain.from nothing (minutes to hours)"
        )


def last_times(dataset: Dataset, windows: Windows, end: Ints) -> dict[str, str]:
    """Series -> time of the last of its first `end` (N,) points; series of which nothing was seen are left out."""
    some = end > 0
    rows = pl.read_parquet(dataset.data)[(windows.offsets[:-1] + end - 1)[some]]
    return dict(rows.select("unique_id", pl.col("ds").dt.to_string("iso")).iter_rows())


def target_card(card: ModelCard, base: Model, dataset: Dataset, handle: WindowSet, seen: dict[str, str]) -> ModelCard:
    """The card of a model tuned or chosen on a target: its rhythm, its lineage, and what it has seen by when."""
    later = {name: max(time, card.seen.get(name, time)) for name, time in seen.items()}
    return card.model_copy(
        update={
            "freq": handle.freq,
            "periods": handle.periods,
            "gaps": handle.gaps,
            "seen": card.seen | later,
            "lineage": card.lineage | {"target": dataset.fingerprint, "parent": base.weights},
            "tuned_for": handle.horizon,
            "calibration": None,  # the parent's rests on other windows
        }
    )


def drawing(
    training: Windows, corpus: Windows | None, config: FinetuneConfig, sizes: tuple[int, int, int], seed: int
) -> Callable[[int], Batch]:
    """The batches to tune on: windows of the target, and beside them a share replayed from the corpus.

    `sizes` are context, horizon and least history.
    """
    replayed = math.ceil(config.replay * config.batch_size)
    context, horizon, history = sizes
    own = training.drawing(config.batch_size - replayed, context, horizon, history, seed)
    if corpus is None or not replayed:
        return own
    kept, _ = corpus.hold_out(HELD_OUT)
    old = kept.drawing(replayed, context, horizon, LEAST_HISTORY, seed, by_series=True)
    return lambda step: own(step).beside(old(step))


def keep(
    candidate: Candidate, card: ModelCard, run: Run, held_out: Sequence[Batch], calibration: Calibration | None = None
) -> Contender:
    """Write a candidate's folder, named by its content, score it on what pretraining held out, and hand it on."""
    weights = weights_digest(candidate.network)
    own = card.model_copy(update={"strategy": candidate.strategy, "calibration": calibration})
    folder = home() / "models" / f"{candidate.strategy}-{digest_json([weights, own.model_dump(mode='json')])[:16]}"
    record = training_record(candidate.training) if candidate.training else {"history": []}
    save_model(candidate.network, own, folder, record | {"note": candidate.note})
    about = {"weights": weights, "content": content_digest(folder), "context": card.model.context}
    model = Model(folder=folder, strategy=candidate.strategy, run=run, **about)
    history = tuple((row["step"], row["train_loss"], row["validation_loss"]) for row in record["history"])
    return Contender(
        model=model,
        validation_loss=candidate.validation_loss,
        source_loss=validate(candidate.network, held_out) if held_out else None,
        history=history,
        note=candidate.note,
        calibration=calibration.note if calibration else "",
    )


def log_calibration(run: Run, calibration: Calibration | None) -> None:
    """What was done to a candidate's deciles, in words, and how many validation truths its interval held before."""
    if calibration is None:
        return
    set_tags(run, {"carryover.calibration": calibration.note})
    if calibration.coverage_80 is not None:
        log_metrics(run, {"calibration/validation_coverage_80": calibration.coverage_80})


def show(selection: Selection) -> None:
    """The candidates as a Prefect artifact."""
    table = [
        {
            "candidate": c.model.strategy,
            "val/loss": round(c.validation_loss, 5),
            "val/source_loss": "" if c.source_loss is None else round(c.source_loss, 5),
            "validations": len(c.history),
            "note": c.note,
            "chosen": "yes" if c.model.strategy == selection.chosen else "",
        }
        for c in selection.contenders
    ]
    show_table(table=table, key="fine-tuning", description=selection.reason)
