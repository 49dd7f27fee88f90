"""What it takes to get a result again: the command, and the settings behind it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import torch

from rnn_model.config import Section
from tasks.checks import idle_sections
from tasks.config import FinetuneConfig, PretrainConfig
from tasks.series_config import TargetConfig
from tasks.tracking import flatten


def as_options(values: Mapping[str, Any]) -> str:
    """Nested settings as a command line that gives them again."""
    words = []
    for name, value in flatten(values).items():
        text = json.dumps(value) if isinstance(value, list) else str(value)
        words += [f"--{name}", shlex.quote(text)]
    return " ".join(words)


def command_line(command: str, sections: Mapping[str, Any]) -> str:
    """The command that runs with the same settings, those at their defaults left out, on as many threads."""
    asked = {name: differing(value) for name, value in sections.items()}
    words = f"carryover {command} {as_options({name: value for name, value in asked.items() if value != {}})}"
    return f"OMP_NUM_THREADS={torch.get_num_threads()} {words}".strip()


def differing(value: Any) -> Any:
    """The fields of a section that differ from its defaults, nested; a plain value as it is."""
    if not isinstance(value, Section):
        return value
    return {} if value == usual(value) else value.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def usual(section: Section) -> Section:
    """A section as it is where nothing was asked for; a target then is the sample."""
    default = type(section)()
    return default.resolved() if isinstance(default, TargetConfig) else default


def settings(sections: Mapping[str, Any]) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """(name, value, default) of every setting that differs from its default, and (name, value) of the others.

    A plain value, such as the seed, stands with the former; it has no section to know its default. Defaults of a
    pretraining that did not take place stand in neither.
    """
    pretrain, finetune = sections.get("pretrain"), sections.get("finetune")
    replay = finetune.replay if isinstance(finetune, FinetuneConfig) else 0.0
    idle = idle_sections(pretrain, replay) if isinstance(pretrain, PretrainConfig) else set()
    changed: list[tuple[str, str, str]] = []
    same: list[tuple[str, str]] = []
    for name, section in sections.items():
        if not isinstance(section, Section):
            changed.append((name, shown(section), ""))
            continue
        defaults = flatten({name: usual(section).model_dump(mode="json", by_alias=True)})
        for key, value in flatten({name: section.model_dump(mode="json", by_alias=True)}).items():
            if value != defaults.get(key):
                changed.append((key, shown(value), shown(defaults.get(key))))
            elif name not in idle or key == "pretrain.from":
                same.append((key, shown(value)))
    return changed, same


def shown(value: Any) -> str:
    """A setting in words."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
