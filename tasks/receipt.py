"""A run's receipt: what went in, on what it ran, and digests of what came out of every stage; it can be run again."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field
from pydantic_core import to_jsonable_python

from rnn_model.artefact import digest_json, open_checked, publish, read_manifest
from rnn_model.checkpoint import read_record
from rnn_model.config import DECILES, Section
from rnn_model.errors import IntegrityError
from tasks.config import PROJECT, home
from tasks.files import described, expand
from tasks.handles import Contender, DataFile, Decision, Evaluation, Model, Products, Run
from tasks.machine import Environment, environment
from tasks.series_config import SeriesConfig
from tasks.step import flow_name, in_flow_run, step
from tasks.tracking import finite, log_table, set_tags

FORMAT = 1
RECEIPT, TAG = "receipt.json", "carryover.receipt"  # the artefact, and the tag with its digest
READ = ("source", "target")  # sections that may name files


class Stage(Section):
    """What came out of one stage, in three strengths."""

    name: str
    same: dict[str, str] = Field({}, description="has to be the same")
    bits: dict[str, str] = Field({}, description="digests; others are still near, if there are figures and those are")
    figures: dict[str, float | None] = Field({}, description="numbers that a tolerance applies to")


class Receipt(Section):
    """A run as it can be asked for again, and what it gave."""

    format: int = Field(FORMAT, description="version of this record")
    run_id: str
    flow: str
    given: dict[str, Any] = Field(description="the flow's parameters, defaults included")
    resolved: dict[str, Any] = Field(description="the sections as the flow used them")
    seed: int | None
    devices: dict[str, str] = Field(description="section -> device and precision of its training")
    files: dict[str, tuple[DataFile, ...]] = Field(
        description="section -> local files it read; other data is known by the ingest stage"
    )
    environment: Environment
    champion: str | None = Field(None, description="address of the model that the gate compared with")
    stages: tuple[Stage, ...] = ()


@step
def open_receipt(sections: Mapping[str, Any], run: Run) -> Receipt:
    """What goes in, taken as the run opens. `sections` are the flow's parameters as it uses them.

    Raises DataError for a path without files.
    """
    given = sections
    if in_flow_run():
        from prefect.runtime import flow_run

        given = flow_run.parameters or sections
    return receipt_of(flow_name() or "pipeline", given, sections, run.run_id)


@step
def close_receipt(opened: Receipt, products: Products, run: Run) -> Receipt:
    """The receipt with what came out: under data/receipts, and on the run, whose tag holds its digest."""
    champion = products.decision.address if products.decision else None
    files = opened.files
    if products.validated is not None and "target" in files:  # as they were when their rows were taken
        files = files | {"target": products.validated.dataset.files}
    receipt = opened.model_copy(update={"champion": champion, "stages": stages_of(products), "files": files})
    save_receipt(receipt)
    log_receipt(receipt, run)
    return receipt


def receipt_of(flow: str, given: Mapping[str, Any], sections: Mapping[str, Any], run_id: str) -> Receipt:
    """A receipt without stages."""
    resolved = without_project(to_jsonable_python(dict(sections)))
    trained = {name: part for name, part in resolved.items() if isinstance(part, dict) and "device" in part}
    return Receipt(
        run_id=run_id,
        flow=flow,
        given=to_jsonable_python(dict(given)),
        resolved=resolved,
        seed=resolved.get("seed"),
        devices={name: f"{part['device']}, {part['precision']}" for name, part in trained.items()},
        files={name: files_of(sections[name]) for name in READ if name in sections},
        environment=environment(),
    )


def save_receipt(receipt: Receipt) -> Path:
    """Write a receipt to data/receipts/RUN_ID, whole or not at all."""
    text = json.dumps(receipt.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    return publish(home() / "receipts" / receipt.run_id, lambda staging: _write(staging / RECEIPT, text))


def log_receipt(receipt: Receipt, run: Run) -> None:
    """Store a receipt with `run`, its digest beside it."""
    content = receipt.model_dump(mode="json")
    log_table(run, content, RECEIPT)
    set_tags(run, {TAG: digest_json(content)})


def read_receipt(content: Mapping[str, Any], digest: str | None, where: str) -> Receipt:
    """A stored receipt, checked against its digest. Raises IntegrityError for a changed or newer one."""
    if digest_json(dict(content)) != digest:
        raise IntegrityError(f"{where}: {RECEIPT} is not what its digest says; someone changed it, so run it anew")
    if content.get("format") != FORMAT:
        raise IntegrityError(
            f"{where}: {RECEIPT} has format {content.get('format')}, this version reads {FORMAT}; update carryover"
        )
    return Receipt.model_validate(content)


def files_of(config: SeriesConfig) -> tuple[DataFile, ...]:
    """The local files a section reads, by name and content. Raises DataError where there is none."""
    return described([] if config.path is None or config.address else expand(config.path))


def without_project(value: Any) -> Any:
    """The same with paths inside the project relative to it: where it is installed is nobody's business."""
    if isinstance(value, dict):
        return {key: without_project(inner) for key, inner in value.items()}
    return value.removeprefix(f"{PROJECT}{os.sep}") if isinstance(value, str) else value


def stages_of(products: Products) -> tuple[Stage, ...]:
    """What came out, in the order it was made."""
    stages = [*data_stages(products), base_stage(products.base)]
    if products.selection is not None:
        stages += [candidate_stage(contender) for contender in products.selection.contenders]
        stages.append(Stage(name="select", same={"chosen": products.selection.chosen}))
    if products.evaluation is not None:
        stages += backtest_stages(products.evaluation)
    if products.decision is not None:
        stages.append(decision_stage(products.decision))
    return tuple(stages)


def data_stages(products: Products) -> list[Stage]:
    """Rows read, rows that passed, windows cut, and the corpus to pretrain on."""
    stages = []
    if (validated := products.validated) is not None:
        account = digest_json(validated.account.model_dump(mode="json", exclude={"notes"}))  # words, and of their day
        labels = validated.dataset.labels
        groups = {"labels": labels.parent.name} if labels else {}  # a folder that is named by its content
        stages.append(Stage(name="ingest", same={"rows": validated.raw} | groups))
        stages.append(Stage(name="validate", same={"data": validated.dataset.fingerprint, "account": account}))
    if (windows := products.windows) is not None:
        cuts = digest_json(windows.model_dump(mode="json", exclude={"folder"}))
        stages.append(Stage(name="window", same={"content": folder_digest(windows.folder), "cuts": cuts}))
    if products.base.corpus is not None:
        stages.append(Stage(name="corpus", same={"content": folder_digest(products.base.corpus)}))
    return stages


def base_stage(base: Model) -> Stage:
    """The network everything starts from: trained by this run, or found."""
    if base.run is None:
        return Stage(name="start", same={"weights": base.weights})
    record = read_record(base.folder)
    rows = [[row["step"], row["train_loss"], row["validation_loss"]] for row in record["history"]]
    bits = {"weights": base.weights, "history": digest_json(finite(rows))}
    return Stage(name="pretrain", bits=bits, figures=finite({"validation loss": record["best_loss"]}))


def candidate_stage(contender: Contender) -> Stage:
    """One candidate of the fine-tuning."""
    history = digest_json(finite([list(row) for row in contender.history]))
    losses = {"validation loss": contender.validation_loss, "source loss": contender.source_loss}
    return Stage(
        name=f"fine-tune {contender.model.strategy}",
        bits={"weights": contender.model.weights, "history": history},
        figures=finite(losses),
    )


def backtest_stages(evaluation: Evaluation) -> list[Stage]:
    """The windows everyone was scored on, then every model's forecasts and metrics."""
    frame = pl.read_parquet(open_checked(evaluation.folder) / "forecasts.parquet")
    digests = {str(name): forecasts_digest(own) for (name,), own in frame.group_by("model")}
    models = [
        Stage(name=f"backtest {name}", bits={"forecasts": digests[name]}, figures=finite(dict(row)))
        for name, row in evaluation.table.items()
    ]
    return [Stage(name="evaluation", same={"fingerprint": evaluation.fingerprint}), *models]


def decision_stage(decision: Decision) -> Stage:
    """What the gate said, against whom."""
    figures = {f"{effect.part} {name}": getattr(effect, name) for effect in decision.effects for name in ("gain", "p")}
    against = {"outcome": decision.outcome, "champion": decision.champion}
    return Stage(name="promote", same=against, figures=finite(figures))


def forecasts_digest(frame: pl.DataFrame) -> str:
    """SHA-256 over one model's forecasts by value: series, cutoffs, steps and deciles in sorted order.

    The Parquet file's own bytes change with the version that wrote it.
    """
    rows = frame.sort("unique_id", "cutoff", "step")
    runs = rows["unique_id"].rle().struct.unnest()
    digest = hashlib.sha256(digest_json([list(row) for row in runs.iter_rows()]).encode())
    for name in ("cutoff", "step"):
        digest.update(rows[name].cast(pl.Int64).to_numpy().tobytes())
    for name in DECILES:
        digest.update(rows[name].cast(pl.Float64).to_numpy().tobytes())
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """Digest of all files of a published folder, after they were checked."""
    return digest_json(read_manifest(open_checked(folder)))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
