"""Two receipts compared: equal to the bit, near enough by its figures, or different at the first stage that is."""

from typing import Any

import pytest

from rnn_model.errors import DataError
from tasks.handles import DataFile
from tasks.machine import Environment
from tasks.receipt import Receipt, Stage
from tasks.sameness import changes, in_one_line, same_receipt, same_stage

A, B = "a" * 64, "b" * 64
ENVIRONMENT = Environment(
    code={"flows": A, "tasks": A, "rnn_model": A},
    commit="c" * 40,
    constraints=A,
    versions={"python": "3.11.7", "torch": "2.13.0"},
    platform="Linux",
    instructions="AVX2",
    gpu=None,
    cores=2,
    threads=1,
    processes=1,
    variables={},
)


def candidate(name: str = "fine-tune full", weights: str = A, loss: float | None = 0.5) -> Stage:
    return Stage(name=name, bits={"weights": weights}, figures={"validation loss": loss})


def receipt(*stages: Stage, files: tuple[DataFile, ...] = (), **environment: Any) -> Receipt:
    return Receipt(
        run_id="0" * 32,
        flow="pipeline",
        given={},
        resolved={},
        seed=0,
        devices={},
        files={"target": files},
        environment=ENVIRONMENT.model_copy(update=environment),
        stages=stages,
    )


@pytest.mark.parametrize(
    ("got", "word"),
    [
        (candidate(), "equal"),
        (candidate(loss=0.5 + 2**-53), "equal"),
        (candidate(weights=B), "within tolerance"),
        (candidate(weights=B, loss=0.5 * (1 + 9e-7)), "within tolerance"),
        (candidate(loss=0.5 * (1 + 9e-7)), "within tolerance"),
        (candidate(weights=B, loss=0.5 * (1 + 2e-6)), "different"),
        (candidate(loss=None), "different"),
    ],
)
def test_other_bits_are_near_as_long_as_the_figures_are(got: Stage, word: str) -> None:
    assert same_stage(got.name, candidate(), got, 1e-6).verdict == word


def test_what_has_to_be_the_same_knows_no_tolerance() -> None:
    was, got = (Stage(name="select", same={"chosen": name}) for name in ("full", "biases"))
    found = same_stage("select", was, got, 1.0)
    assert (found.verdict, found.words) == ("different", "chosen got biases, was full")


def test_bits_without_figures_have_to_be_equal() -> None:
    was, got = (Stage(name="x", bits={"content": digest}) for digest in (A, B))
    assert same_stage("x", was, got, 1.0).words == f"content got {'b' * 12}, was {'a' * 12}"


@pytest.mark.parametrize(("was", "got"), [((candidate(),), ()), ((), (candidate(),))])
def test_a_stage_that_only_one_has_is_a_difference(was: tuple[Stage, ...], got: tuple[Stage, ...]) -> None:
    assert [s.verdict for s in same_receipt(receipt(*was), receipt(*got), 1e-6)] == ["different"]


def test_the_first_stage_that_differs_is_named() -> None:
    then = receipt(candidate("one"), candidate("two"), candidate("three"))
    now = receipt(candidate("one"), candidate("two", B, 0.75), candidate("three", B, 1.0))
    expected = "different at two: validation loss got 0.75, was 0.5 (and 1 more)"
    assert in_one_line(same_receipt(then, now, 1e-6)) == expected


@pytest.mark.parametrize(("weights", "word"), [(A, "equal"), (B, "within tolerance")])
def test_one_near_stage_makes_the_whole_near(weights: str, word: str) -> None:
    was, got = receipt(candidate("one"), candidate("two")), receipt(candidate("one"), candidate("two", weights))
    assert in_one_line(same_receipt(was, got, 1e-6)) == word


@pytest.mark.parametrize("champion", ["SeasonalNaive", "champion"])
def test_another_decision_is_a_difference(champion: str) -> None:
    was = Stage(name="promote", same={"outcome": "keep", "champion": "champion"})
    got = Stage(name="promote", same={"outcome": "promote", "champion": champion})
    assert same_stage("promote", was, got, 1e-6).verdict == "different"


def test_nothing_changed_says_nothing() -> None:
    assert changes(receipt(), {}, ENVIRONMENT) == ()


def test_what_is_different_now_is_listed_with_the_data_first() -> None:
    was = receipt(files=(DataFile(name="sales.csv", sha256=A, size=9),), threads=4, processes=2)
    now = ENVIRONMENT.model_copy(
        update={
            "code": ENVIRONMENT.code | {"tasks": B},
            "commit": "d" * 40,
            "constraints": B,
            "versions": {"python": "3.11.7", "torch": "2.14.0"},
            "instructions": "AVX512",
        }
    )
    assert changes(was, {"target": (DataFile(name="sales.csv", sha256=B, size=7),)}, now) == (
        "data file sales.csv: other content (7 bytes)",
        f"code of tasks (commit {'d' * 12}, was {'c' * 12})",
        "constraints.txt",
        "torch 2.14.0 (was 2.13.0)",
        "instructions AVX512 (was AVX2)",
        "1 process (was 2 of torchrun)",
        "2 cores for 4 threads, which are set all the same",
    )


def test_a_file_that_is_gone_stops_with_its_name() -> None:
    was = receipt(files=(DataFile(name="sales.csv", sha256=A, size=9),))
    with pytest.raises(DataError, match=r"^sales\.csv: read by that run and gone since; put the file back"):
        changes(was, {"target": ()}, ENVIRONMENT)
