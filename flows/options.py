"""What options are called, and what they mean: from the parameters and the docstring of a flow."""

import inspect
import json
from collections.abc import Callable
from typing import Any

from rnn_model.errors import ConfigError
from rnn_model.json_file import parse_json

SHOWN = 80  # characters of a value that is no list


def option_name(parameter: str) -> str:
    """A parameter's name as an option's: on_error -> on-error; from_, whose own name Python keeps -> from."""
    return parameter.rstrip("_").replace("_", "-")


def argument_docs(function: Callable[..., Any]) -> dict[str, str]:
    """Parameter -> its words, from the Args section of a docstring."""
    _, _, section = (inspect.getdoc(function) or "").partition("Args:\n")
    pairs = (line.strip().partition(": ") for line in section.splitlines() if ": " in line)
    return {name: words for name, _, words in pairs}


def gather_grid(options: list[str]) -> list[str]:
    """Options --grid.NAME LIST as one --grid, whose names are free. Raises ConfigError for what is no JSON list."""
    rest, grid, left = list[str](), dict[str, Any](), iter(options)
    for word in left:
        if not word.startswith("--grid."):
            rest.append(word)
            continue
        name, _, given = word.removeprefix("--grid.").partition("=")
        given = given or next(left, "")
        try:
            grid[name] = parse_json(given)
        except ValueError:
            raise ConfigError(
                f"--grid.{name} {given[:SHOWN]!r} is no list in JSON; give one such as '[0, 1]'"
            ) from None
    return [*rest, "--grid", json.dumps(grid)] if grid else rest
