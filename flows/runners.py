"""Where the units of a sweep run: threads of this process, or a Dask or Ray cluster; one setting."""

import logging
import os
from importlib import import_module
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from rnn_model.errors import ConfigError
from tasks.config import RunnerConfig

CLASSES = {"dask": ("prefect_dask", "DaskTaskRunner"), "ray": ("prefect_ray", "RayTaskRunner")}


def task_runner(config: RunnerConfig) -> TaskRunner[Any]:
    """Prefect's task runner for a kind. Raises ConfigError where its library is not installed."""
    workers = config.workers or max(1, cores() // config.threads)
    if config.kind == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    module, name = CLASSES[config.kind]
    try:
        made = getattr(import_module(module), name)
    except ImportError:
        raise ConfigError(
            f"runner.kind {config.kind} needs {module}, which is not installed; pip install 'carryover[{config.kind}]'"
        ) from None
    if config.address is not None:
        return made(address=config.address)  # type: ignore[no-any-return]
    if config.kind == "ray":
        return made(init_kwargs={"num_cpus": workers, "include_dashboard": False})  # type: ignore[no-any-return]
    cluster = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    return made(cluster_kwargs=cluster | {"silence_logs": logging.ERROR})  # type: ignore[no-any-return]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
