"""What may move the bits of a result beside its settings and data: code, versions, machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import Field

from rnn_model.artefact import digest_json, sha256_file
from rnn_model.config import Section
from rnn_model.parallel import processes
from tasks.config import PROJECT

CODE = ("flows", "tasks", "rnn_model")
LIBRARIES = ("torch", "numpy", "polars", "statsforecast", "utilsforecast", "mlflow", "prefect")
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # a process that is started here is none of these
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


class Environment(Section):
    """What may change the bits of a result beside its configuration and data."""

    code: dict[str, str] = Field(description="package -> SHA-256 of its sources")
    commit: str | None = Field(description="git commit, where the project is a repository of its own")
    constraints: str | None = Field(description="SHA-256 of constraints.txt")
    versions: dict[str, str] = Field(description="Python and the libraries")
    platform: str
    instructions: str = Field(description="widest vector instructions of the processor that torch uses")
    gpu: str | None
    cores: int = Field(description="cores this process may use")
    threads: int = Field(description="threads of one torch operation")
    processes: int = Field(description="processes of torchrun; 1 without it")
    variables: dict[str, str] = Field(description="environment variables that set threads")


def code_digest(*packages: str) -> str:
    """SHA-256 over the sources of packages, sub-packages included: results made by other code are other results."""
    return digest_json([sources_of(PROJECT / package) for package in packages])


def sources_of(folder: Path) -> dict[str, str]:
    """Path within a folder -> SHA-256 of its bytes, for every Python file at any depth."""
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*.py")}


def environment() -> Environment:
    """Code, versions and machine, as they are now."""
    lock = PROJECT / "constraints.txt"
    return Environment(
        code={package: code_digest(package) for package in CODE},
        commit=commit(),
        constraints=sha256_file(lock) if lock.is_file() else None,
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        platform=platform.platform(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        processes=processes(),
        variables={name: os.environ[name] for name in THREADS if name in os.environ},
    )


def commit() -> str | None:
    """The project's git commit; None without git, or where the project lies inside another repository."""
    command = ["git", "-C", str(PROJECT), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    top, _, head = found.stdout.strip().partition("\n")
    return head if found.returncode == 0 and Path(top).resolve() == PROJECT else None


def in_words(found: Environment) -> dict[str, str]:
    """An environment as a person reads it."""
    several, cores = "es" if found.processes > 1 else "", "core" if found.cores == 1 else "cores"
    return found.versions | {
        "machine": f"{found.platform}, {found.instructions}, {found.cores} CPU {cores}",
        "device": found.gpu or "CPU",
        "threads": f"{found.threads} of {found.processes} process{several}",
        "commit": found.commit or "none",
        **{f"code of {package}": digest for package, digest in found.code.items()},
    }


def import_path(environment: Mapping[str, str]) -> str:
    """PYTHONPATH of a process that is to run this project's code, before what the environment names."""
    return os.pathsep.join(filter(None, (str(PROJECT), environment.get("PYTHONPATH"))))
