"""A receipt says what went in and what came out by value, holds no secret, and cannot be edited unseen."""

import json
from pathlib import Path

import polars as pl
import pytest

from rnn_model.artefact import digest_json, open_checked
from rnn_model.config import DECILES
from rnn_model.errors import IntegrityError
from tasks import machine
from tasks.config import PROJECT, FinetuneConfig, TrackingConfig
from tasks.handles import Account, Dataset, Model, Products, Validated
from tasks.machine import commit
from tasks.receipt import (
    RECEIPT,
    Receipt,
    data_stages,
    files_of,
    forecasts_digest,
    read_receipt,
    receipt_of,
    save_receipt,
)
from tasks.series_config import SAMPLE, TargetConfig

FORECASTS = pl.DataFrame(
    {"unique_id": ["a", "a", "b"], "cutoff": [1, 1, 1], "step": [1, 2, 1]} | {q: [1.0, 2.0, 3.0] for q in DECILES}
)


def made(target: TargetConfig) -> Receipt:
    sections = {"target": target, "finetune": FinetuneConfig(), "tracking": TrackingConfig(), "seed": 7}
    return receipt_of("finetune", sections, sections | {"target": target.resolved()}, "0" * 32)


def test_it_holds_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:canary@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "canary")
    assert "canary" not in made(TargetConfig()).model_dump_json()


def test_the_samples_path_does_not_tell_where_the_project_is() -> None:
    receipt = made(TargetConfig())
    assert str(PROJECT) not in receipt.model_dump_json()
    assert receipt.resolved["target"]["path"] == str(SAMPLE.relative_to(PROJECT))


def test_settings_stand_as_given_and_read_back_as_they_were() -> None:
    target = TargetConfig(path=str(SAMPLE), freq="QS", season=4)
    receipt = Receipt.model_validate_json(made(target).model_dump_json())
    assert TargetConfig.model_validate(receipt.given["target"]) == target
    assert (receipt.seed, receipt.devices) == (7, {"finetune": "cpu, float32"})


def test_files_are_named_without_folders_and_hashed(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text("abc")
    found = files_of(TargetConfig(path=str(tmp_path / "*.csv"), freq="D", called="all"))
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # the standard's own example
    assert [(file.name, file.sha256, file.size) for file in found] == [("a.csv", abc, 3), ("b.csv", abc, 3)]


def test_groups_of_series_stand_beside_the_rows_where_there_are_any(tmp_path: Path) -> None:
    facts = {"fingerprint": "f", "name": "n", "freq": "D", "season": 7, "periods": (7, 364), "gaps": "missing"}
    dataset = Dataset.model_validate(facts | {"folder": tmp_path, "rows": 1, "series": 1})
    sums = dict.fromkeys(("rows_in", "used", "padded", "added", "series_in", "series_used", "constant"), 0)
    account = Account.model_validate(sums | {"quarantined": {}})
    base = Model(folder=tmp_path, weights="w", strategy="s", context=8)

    def ingested(labels: Path | None) -> dict[str, str]:
        own = dataset.model_copy(update={"labels": labels})
        return data_stages(Products(base=base, validated=Validated(dataset=own, account=account, raw="r")))[0].same

    assert ingested(None) == {"rows": "r"}
    assert ingested(Path("labels/0123/labels.parquet")) == {"rows": "r", "labels": "0123"}


def test_forecasts_are_digested_by_value_in_any_order() -> None:
    assert forecasts_digest(FORECASTS.reverse().with_columns(y=0.0)) == forecasts_digest(FORECASTS)


@pytest.mark.parametrize("column", ["unique_id", "cutoff", "step", "0.9"])
def test_every_column_counts(column: str) -> None:
    first = {"unique_id": "0", "cutoff": 0, "step": 0, "0.9": 1.0 + 2**-52}[column]
    other = FORECASTS.with_columns(pl.Series(column, [first, *FORECASTS[column][1:]]))
    assert forecasts_digest(other) != forecasts_digest(FORECASTS)


def test_an_edited_receipt_is_refused() -> None:
    content = made(TargetConfig()).model_dump(mode="json")
    digest = digest_json(content)
    assert read_receipt(content, digest, "run x").seed == 7
    with pytest.raises(IntegrityError, match="not what its digest says"):
        read_receipt(content | {"seed": 8}, digest, "run x")


def test_a_newer_receipt_is_refused_with_both_formats() -> None:
    content = made(TargetConfig()).model_dump(mode="json") | {"format": 2}
    with pytest.raises(IntegrityError, match="has format 2, this version reads 1"):
        read_receipt(content, digest_json(content), "run x")


def test_it_is_written_with_a_digest_beside_it() -> None:
    receipt = made(TargetConfig())
    folder = save_receipt(receipt)
    assert Receipt.model_validate(json.loads((open_checked(folder) / RECEIPT).read_text())) == receipt
    (folder / RECEIPT).write_text("{}")
    with pytest.raises(IntegrityError, match=RECEIPT):
        open_checked(folder)


def test_a_project_inside_another_repository_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROJECT", PROJECT / "tasks")
    assert commit() is None


def test_a_machine_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None
