"""`carryover`: each flow is a command, and its options are the flow's own parameters."""

import argparse
import inspect
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn, get_type_hints

os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the bars and the last line speak here
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")  # it shows what a lost server did not take

if __name__ == "__main__" and sys.argv[1:2] == ["doctor"]:  # it looks at what is imported below, and may be broken
    from flows.entry import main as enter

    enter()

import yaml
from prefect import Flow
from prefect.exceptions import TerminationSignal
from pydantic import AliasChoices, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from flows.commands import COMMANDS, SUMMARIZED, Plain, overview
from flows.doctor import main as examine
from flows.guard import check_parameters, log_to_file, mask_streams, validation_words
from flows.intake import done_before
from flows.options import argument_docs, gather_grid, option_name
from flows.show import show
from flows.unexpected import explain
from rnn_model.errors import CarryoverError, ConfigError
from rnn_model.parallel import announce, is_first
from rnn_model.private import refuse_writable
from tasks.config import home
from tasks.delivery import kept_words
from tasks.prefect_api import ready_prefect
from tasks.pretrain import assist
from tasks.room import check_place, check_room
from tasks.terminal import one_line, say

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
UNKNOWN = "unrecognized arguments: "
KEPT = "finished stages are kept and used again; run the same command again"
CONFIG_LIMIT = 2**20  # bytes of a file of options
PRESETS = Path(__file__).parent / "presets"


def presets() -> str:
    """The names that --config knows."""
    return ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))


class Command(BaseSettings):
    """What every command has beside its flow's parameters: a configuration file under the options."""

    model_config = SettingsConfigDict(
        extra="forbid",
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_use_class_docs_for_groups=True,
        cli_exit_on_error=False,
        nested_model_default_partial_update=True,
    )
    yaml_file: ClassVar[Path | None] = None

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options first, then the file; the environment does not set options."""
        return (init_settings, YamlConfigSettingsSource(settings_cls, yaml_file=cls.yaml_file))


def command_class(name: str, flow: "Flow[..., Any] | Plain", yaml_file: Path | None) -> type[Command]:
    """The options of a command, from the signature and docstring of its flow."""
    hints, words = get_type_hints(flow.fn, include_extras=True), argument_docs(flow.fn)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(flow.fn).parameters.values():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        names = AliasChoices(option_name(parameter.name), parameter.name) if "_" in parameter.name else None
        info: FieldInfo = Field(default, description=words.get(parameter.name), validation_alias=names)
        fields[parameter.name] = (hints[parameter.name], info)
    fields["config"] = (str | None, Field(None, description=f"YAML file of options, or a preset: {presets()}"))
    if name in SUMMARIZED:
        fields["summary"] = (Path | None, Field(None, description="JSON file for every metric, fingerprint and run id"))
    doc = (flow.fn.__doc__ or "").split("\n\n")[0]
    made = create_model(name, __base__=Command, __doc__=doc, **fields)
    made.yaml_file = yaml_file
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exits with 0, or with the code of what went wrong and one line that says so."""
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as that of a closed terminal is under nohup
            signal.signal(number, _terminate)
    mask_streams()
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    if words := kept_words():
        complain(words, code)
    sys.exit(code)


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    """By default a process would die at once, and leave the embedded server behind; further signals change nothing."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise TerminationSignal(signal=number)


def run(arguments: list[str]) -> int:
    """One command line; the exit code."""
    if (code := without_log(arguments)) is not None:
        return code
    name, *options = arguments
    log = None
    try:
        log = log_to_file()
        if name not in COMMANDS:
            raise ConfigError(f"command {name!r} is not known; use one of {', '.join(COMMANDS)}")
        code = execute(name, options)
        sys.stdout.flush()  # what cannot be written is told here, not by the interpreter at its end
        return code
    except CarryoverError as error:
        return complain(str(error), error.exit_code)
    except ValidationError as error:
        return complain(validation_words(error), ConfigError.exit_code)
    except KeyboardInterrupt:
        return complain(f"interrupted; {KEPT}", 130)
    except TerminationSignal:
        return complain(f"terminated; {KEPT}", 143)
    except Exception as error:  # noqa: BLE001  (the last line of defence)
        return complain(*explain(error, log))


def without_log(arguments: list[str]) -> int | None:
    """What needs no log, which cannot be written everywhere: the overview, and `doctor`; None for everything else."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    return examine(arguments[1:]) if arguments[0] == "doctor" else None


def execute(name: str, options: list[str]) -> int:
    """Build the command from options and file, run its flow, and show the result."""
    flow = COMMANDS[name]
    options = by_position(name, gather_grid(options) if name == "sweep" else options)
    command = parse(command_class(name, flow, config_file(options)), name, options)
    parameters = {key: getattr(command, key) for key in inspect.signature(flow.fn).parameters}
    if not is_first():  # of the processes of torchrun
        assist()
        return 0
    check_parameters(parameters)
    check_room(home())
    for place in (parameters.get("output"), getattr(command, "summary", None)):
        if place is not None:
            check_place(Path(place).parent)
    try:
        result = done_before(name, parameters)
        if not result:
            if isinstance(flow, Flow):
                ready_prefect()
            result = flow(**parameters)
    finally:
        announce()  # that no training follows
    show(result, parameters, getattr(command, "summary", None))
    return int(getattr(result, "exit_code", 0))


def by_position(name: str, options: list[str]) -> list[str]:
    """Words before the first option, as the flow's parameters without default in their order. Raises ConfigError."""
    words = list(takewhile(lambda option: not option.startswith("-"), options))
    places = needed(COMMANDS[name])
    if len(words) > len(places):
        expected = " ".join(map(str.upper, places)) or "options only, such as --seed 1"
        raise ConfigError(f"{words[len(places)]!r} is one too many; carryover {name} takes {expected}")
    named = [text for place, word in zip(places, words, strict=False) for text in (f"--{place}", word)]
    return named + options[len(words) :]


def needed(flow: "Flow[..., Any] | Plain") -> list[str]:
    """The options of the parameters without default, which may be given by position."""
    known = inspect.signature(flow.fn).parameters.values()
    return [option_name(parameter.name) for parameter in known if parameter.default is inspect.Parameter.empty]


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        unknown, *_ = [word for word in message.removeprefix(UNKNOWN).split() if word.startswith("-")] or [""]
        if message.startswith(UNKNOWN) and unknown:  # what follows it may be a secret
            message = f"{UNKNOWN}{unknown}"
        if re.fullmatch("unrecognized arguments: (true|false)", message, re.IGNORECASE):
            message += " (a switch stands alone, as in --force or --no-force)"
        raise ConfigError(f"{message}; {self.prog} --help lists all options")


def parse(kind: type[Command], name: str, options: list[str]) -> Command:
    """Options -> a validated command. Raises ConfigError for an option that does not exist, naming the nearest."""
    parser = Parser(
        prog=f"carryover {name}",
        usage=" ".join(["carryover", name, *map(str.upper, needed(COMMANDS[name])), "[--option value ...]"]),
        description=kind.__doc__,
        exit_on_error=False,
    )
    known: CliSettingsSource[argparse.ArgumentParser] = CliSettingsSource(kind, root_parser=parser)
    names = [option for action in parser._actions for option in action.option_strings]
    for given in (option.partition("=")[0] for option in options if option.startswith("--")):
        if given not in names:
            near = get_close_matches(given, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"option {given} is not known; {hint}carryover {name} --help lists all")
    try:
        return CliApp.run(kind, cli_args=options, cli_settings_source=known, cli_cmd_method_name="_none")
    except (SettingsError, argparse.ArgumentError) as error:
        raise ConfigError(
            f"{str(error).removeprefix('error parsing CLI: ')}; carryover {name} --help lists all"
        ) from None
    except RecursionError:
        raise ConfigError(f"an option's brackets are nested too deeply; carryover {name} --help lists all") from None


def config_file(options: list[str]) -> Path | None:
    """The file behind --config: a path, or the name of a preset. Raises ConfigError for neither, or for no mapping."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    given = parser.parse_known_args(options)[0].config
    if given is None:
        return None
    path = Path(given) if Path(given).is_file() else PRESETS / f"{given}.yaml"
    if not path.is_file():
        raise ConfigError(f"config {given!r} is neither a file nor a preset; presets are {presets()}")
    refuse_writable(path, "config")
    if path.stat().st_size > CONFIG_LIMIT:
        raise ConfigError(
            f"config {path}: larger than {CONFIG_LIMIT / 2**20:.0f} MiB; a file of options has a few lines"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"config {path}: not YAML ({problem(error)}); see flows/presets for an example") from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"config {path}: holds {type(content).__name__}, expected sections such as 'window: {{horizon: 18}}'"
        )
    return path


def problem(error: Exception) -> str:
    """What is wrong with a YAML file, and where; without its words, which may be a secret's."""
    if isinstance(error, RecursionError):
        return "brackets are nested too deeply"
    mark = getattr(error, "problem_mark", None)
    words = re.sub(r"'.*'", "...", str(getattr(error, "problem", None) or error).splitlines()[0])
    return f"{words}, line {mark.line + 1}" if mark else words


def complain(message: str, code: int) -> int:
    """The last line on stderr, and the exit code."""
    with suppress(OSError):  # a terminal that was closed
        say(one_line(f"carryover: {message}"), error=True)
    return code


if __name__ == "__main__":
    main()
