"""The whole chain over a grid of options: targets, strategies, seeds, cutoffs, each run in a process of its own."""

from inspect import signature
from typing import Any, get_type_hints

from prefect.context import FlowRunContext
from pydantic import create_model
from pydantic_core import to_jsonable_python

from flows.definition import flow
from flows.pipeline import pipeline
from flows.runners import task_runner
from rnn_model.artefact import held
from rnn_model.config import ModelConfig, Section
from rnn_model.errors import ConfigError
from tasks.config import (
    BacktestConfig,
    FinetuneConfig,
    GateConfig,
    PretrainConfig,
    RunnerConfig,
    Seed,
    TrackingConfig,
    WindowConfig,
    home,
)
from tasks.finished import reach
from tasks.series_config import SourceConfig, TargetConfig
from tasks.sweep import (
    Sweep,
    Unit,
    UnitResult,
    declared_store,
    expand_grid,
    laid_over,
    run_unit,
    sweep_folder,
    tabulate,
    title_of,
)
from tasks.team import is_shared

HINTS = get_type_hints(pipeline.fn, include_extras=True)
FIELDS: dict[str, Any] = {name: (HINTS[name], own.default) for name, own in signature(pipeline.fn).parameters.items()}
Options = create_model("Options", __base__=Section, **FIELDS)  # of `carryover run`


@flow(name="sweep")
def sweep(
    grid: dict[str, Any],
    source: SourceConfig = SourceConfig(),
    target: TargetConfig = TargetConfig(),
    window: WindowConfig = WindowConfig(),
    model: ModelConfig = ModelConfig(),
    pretrain: PretrainConfig = PretrainConfig(),
    finetune: FinetuneConfig = FinetuneConfig(),
    backtest: BacktestConfig = BacktestConfig(),
    gate: GateConfig = GateConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
    runner: RunnerConfig = RunnerConfig(),
    force: bool = False,
) -> Sweep:
    """Run the whole chain for every combination of a grid of options, several at a time.

    Args:
        grid: option of run -> list of values, e.g. --grid.target.path '["a.csv", "b.csv"]' --grid.seed '[0, 1]'
        source: what a network is pretrained on that starts from nothing
        target: your series
        window: how series are cut into windows
        model: the network that starts from nothing
        pretrain: where the network comes from, and its pretraining
        finetune: carrying over to the target
        backtest: the test
        gate: what a model has to show before it becomes the champion
        tracking: where runs are logged
        seed: every random number follows from it
        runner: where units run, and how many at a time
        force: run units again that have finished with the same data, settings and code
    """
    sections = {"source": source, "target": target, "window": window, "model": model, "pretrain": pretrain}
    sections |= {"finetune": finetune, "backtest": backtest, "gate": gate, "tracking": tracking}
    units = make_units(grid, to_jsonable_python(sections | {"seed": seed, "force": force}), runner)
    folder = units[0].folder
    reach(tracking)  # a store is made once, before many look for it
    with held(folder):
        (folder / "stop").unlink(missing_ok=True)
        return tabulate(folder, run_all(units, runner))


def make_units(grid: dict[str, Any], sections: dict[str, Any], runner: RunnerConfig) -> list[Unit]:
    """Every point of the grid as a run whose options are right. Raises ConfigError, or pydantic's own error."""
    points = expand_grid(to_jsonable_python(grid))
    options = [laid_over(sections, point) for point in points]
    for each in options:
        Options.model_validate(each)
    shared = {"CARRYOVER_HOME": str(home()), "OMP_NUM_THREADS": str(runner.threads)} | prefect_address()
    folder = sweep_folder(options)
    return [
        Unit(
            title=title_of(point),
            options=own,
            folder=folder,
            number=number,
            environment=shared,
            store=declared_store(own),
            shared=is_shared(),
        )
        for number, (point, own) in enumerate(zip(points, options, strict=True), 1)
    ]


def run_all(units: list[Unit], runner: RunnerConfig) -> tuple[UnitResult, ...]:
    """All units on the runner; when this is stopped, they are."""
    stop = units[0].folder / "stop"
    with task_runner(runner) as pool:
        try:
            futures = [pool.submit(run_unit.task, parameters={"unit": unit}) for unit in units]
            return tuple(future.result() for future in futures)
        except BaseException:
            stop.parent.mkdir(parents=True, exist_ok=True)
            stop.touch()
            raise


def prefect_address() -> dict[str, str]:
    """The server of this flow run, so that not every unit starts one."""
    context = FlowRunContext.get()
    if context is None:
        raise ConfigError("a sweep runs as a flow; call sweep(...) or `carryover sweep`")
    return {"PREFECT_API_URL": str(context.client.api_url).rstrip("/")}
