"""A run can be had again from what its report says."""

import shlex

from flows.cli import COMMANDS, command_class, parse
from rnn_model.config import ModelConfig
from tasks.config import BacktestConfig, FinetuneConfig, PretrainConfig, WindowConfig
from tasks.provenance import command_line, settings
from tasks.series_config import SourceConfig, TargetConfig

SECTIONS = {
    "target": TargetConfig(path="sales.csv", freq="MS"),
    "window": WindowConfig(horizon=6),
    "finetune": FinetuneConfig(strategies=("full", "average")),
    "pretrain": PretrainConfig(from_="nothing", steps=7),
    "source": SourceConfig(),
    "seed": 3,
}


def test_the_printed_command_gives_the_same_settings_again() -> None:
    words = shlex.split(command_line("run", SECTIONS))
    assert words[0].startswith("OMP_NUM_THREADS=")
    assert words[1:3] == ["carryover", "run"]
    again = parse(command_class("run", COMMANDS["run"], None), "run", words[3:])
    assert {name: getattr(again, name) for name in SECTIONS} == SECTIONS


def test_settings_that_differ_stand_apart_from_defaults() -> None:
    changed, same = settings(SECTIONS | {"model": ModelConfig(), "backtest": BacktestConfig(cutoffs=5)})
    assert ("window.horizon", "6", "8") in changed
    assert ("backtest.cutoffs", "5", "3") in changed
    assert ("seed", "3", "") in changed
    assert ("pretrain.from", "nothing", "base") in changed
    assert ("model.cell", "lstm") in same
    assert {name for name, *_ in changed}.isdisjoint({name for name, _ in same})


def test_a_run_from_a_model_lists_no_settings_of_a_pretraining() -> None:
    sections = SECTIONS | {"model": ModelConfig(), "pretrain": PretrainConfig(), "source": SourceConfig()}
    names = {name for name, _ in settings(sections)[1]}
    assert {name.split(".")[0] for name in names} & {"model", "source", "pretrain"} == {"pretrain"}
    assert {name for name in names if name.startswith("pretrain.")} == {"pretrain.from"}
    replayed = settings(sections | {"finetune": FinetuneConfig(replay=0.5)})[1]
    assert "source.synthetic.series" in {name for name, _ in replayed}


def test_the_sample_needs_no_options() -> None:
    sections = {"target": TargetConfig().resolved(), "window": WindowConfig(), "seed": 0}
    assert command_line("run", sections).endswith(" carryover run --seed 0")
