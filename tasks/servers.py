"""Server processes that outlive the command that started them: started, waited for, written down, ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psutil
import requests
from pydantic import Field

from rnn_model.artefact import write_file
from rnn_model.config import Section
from rnn_model.errors import ConfigError, ServiceError
from rnn_model.json_file import read_json
from rnn_model.private import open_private
from tasks.config import home

HOST = "127.0.0.1"  # nothing here knows a password, so it is for this machine alone
START_SECONDS = 180.0  # the first start of a server migrates its database
END_SECONDS = 30.0
NAME_SECONDS = 5.0
EMBEDDED = "prefect-embedded"
EMBEDDED_STARTS = 3  # of the embedded server: a port may be taken between the look and the start
PORT_TAKEN = 3  # uvicorn's exit code where a start fails, for that or another reason
TAIL_BYTES = 20_000
CLOCK_SECONDS = 60.0  # how far the clock may have been set since a server was started


class Server(Section):
    """A process that was started here, and by what it is known again."""

    name: str
    pid: int
    started: float = Field(description="as the system tells it, seconds since 1970")
    command: tuple[str, ...]
    url: str = Field("", description="of its pages, or where it answers")
    store: str = Field("", description="where it keeps what it is told, without credentials")
    signal: int = Field(signal.SIGTERM, description="what ends it in good order")

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it still is that one: a number is given again, to the same command at the same time not."""
        try:
            found = psutil.Process(self.pid)
            same = tuple(found.cmdline()) == self.command and abs(found.create_time() - self.started) < CLOCK_SECONDS
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def folder() -> Path:
    """Where servers have their logs and what is known of them."""
    return home() / "services"


def recorded() -> tuple[Server, ...]:
    """The servers that were started here, in that order, dead or alive."""
    path = folder() / "servers.json"
    try:
        return tuple(Server.model_validate(each) for each in read_json(path))
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError):  # a ValidationError is a ValueError
        raise ConfigError(
            f"{path} is not what was written there; end the servers by hand, then delete the file"
        ) from None


def record(servers: Sequence[Server]) -> None:
    """Write down which servers were started."""
    lines = [server.model_dump(mode="json") for server in servers]
    write_file(folder() / "servers.json", json.dumps(lines, indent=1).encode())


def store_behind(uri: str) -> str:
    """The store behind an address: that of a server that runs here, which may be the data folder's own; else itself."""
    if not uri.startswith("http"):
        return uri
    known = {server.url: server.store for server in recorded() if server.store and server.process is not None}
    return known.get(uri.rstrip("/").replace("//localhost:", f"//{HOST}:", 1), uri)


def check_port(port: int, option: str) -> None:
    """Raise ServiceError for a port that something listens on already."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise ServiceError(
                f"port {port} of {HOST} cannot be had ({error.strerror}); name another with --{option}"
            ) from None


def launch(
    name: str, command: Sequence[str], environment: Mapping[str, str], started: Mapping[str, Any], **how: Any
) -> Server:
    """Start a server that goes on when this process ends; its output goes to a log. `how` is passed to Popen."""
    with log_file(name) as log:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **how,
        )
    begun = psutil.Process(process.pid).create_time()
    server = Server(name=name, pid=process.pid, started=begun, command=tuple(command), **started)
    until = time.monotonic() + NAME_SECONDS
    while server.process is None and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)  # for a moment the system shows the new program without its command line
    return server


def shield_embedded() -> None:
    """Let Prefect start its embedded server in a process group of its own; without one, nothing.

    What a terminal sends to a whole group (Ctrl-C) would end the server before the command, which then asks it in vain
    for minutes. Prefect has no option for it, so what it calls `subprocess` gets one. A SIGKILL, which nothing can
    answer, leaves the server behind.
    """
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        return
    from prefect.server.api import server  # seconds of imports, which the first flow needs anyway

    own = vars(subprocess) | {"Popen": EmbeddedServer}
    server.subprocess = SimpleNamespace(**own)  # type: ignore[assignment, attr-defined]


class EmbeddedServer(subprocess.Popen):  # type: ignore[type-arg]
    """Prefect's embedded server, in a process group of its own and with its output in a log.

    Prefect starts one that cannot come up (exit code 3) again without end: after some it is told that there is none.
    """

    started: ClassVar[int] = 0
    log_start: ClassVar[int] = 0  # where in its log the words of this process's servers begin

    def __init__(self, args: Sequence[str], **how: Any) -> None:
        type(self).started += 1
        self.ending = False
        with log_file(EMBEDDED) as log:
            if self.started == 1:
                type(self).log_start = log.seek(0, os.SEEK_END)
            super().__init__(args, process_group=0, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **how)

    def poll(self) -> int | None:
        """The exit code, none while it runs. Raises RuntimeError once it has ended by itself too often."""
        code = super().poll()
        if code is not None and not self.ending and (code != PORT_TAKEN or self.started >= EMBEDDED_STARTS):
            self.ending, type(self).started = True, 0
            raise RuntimeError(f"the ephemeral Prefect API server ended by itself (code {code})")
        return code

    def terminate(self) -> None:
        """End it."""
        self.ending, type(self).started = True, 0
        super().terminate()


def embedded_log() -> str:
    """What the embedded server of this process said last; empty where nothing."""
    try:
        with log_path(EMBEDDED).open("rb") as log:
            log.seek(max(EmbeddedServer.log_start, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def log_file(name: str) -> Any:
    """A server's log, open for adding to it; closed to others, as servers may write addresses into theirs."""
    return os.fdopen(open_private(log_path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def log_path(name: str) -> Path:
    """Where a server's output goes."""
    return folder() / f"{name.lower()}.log"


def wait_for(checks: Mapping[str, Callable[[], bool]], servers: Sequence[Server], tell: Callable[[str], None]) -> None:
    """Return once every check holds; `tell` is called with words twice a second.

    Raises ServiceError when a server ends meanwhile or does not answer in time.
    """
    begun, missing = time.monotonic(), set(checks)
    while missing:
        missing = {name for name in missing if not checks[name]()}
        passed = time.monotonic() - begun
        ended = [server.name for server in servers if server.process is None]
        if missing and (ended or passed > START_SECONDS):
            name = ended[0] if ended else min(missing)
            what = "ended by itself" if ended else f"does not answer after {passed:.0f} s"
            raise ServiceError(f"{name} {what}; see {log_path(name)}, then start it again")
        tell(f"waiting for {' and '.join(sorted(missing))}" if missing else "all answer")
        if missing:
            time.sleep(0.5)


def answers(address: str) -> bool:
    """Whether a page is there."""
    try:
        return bool(requests.get(address, timeout=5).ok)
    except requests.RequestException:
        return False


def end(server: Server) -> bool:
    """End a server, and what it started; False where it is no more."""
    process = server.process
    if process is None:
        return False
    family = [process]
    with suppress(psutil.NoSuchProcess):  # it may end by itself at any moment
        family += process.children(recursive=True)
        process.send_signal(server.signal)
    _, left = psutil.wait_procs(family, timeout=END_SECONDS)
    for straggler in left:
        with suppress(psutil.NoSuchProcess):
            straggler.kill()
    psutil.wait_procs(left, timeout=END_SECONDS)
    return True


def run_once(name: str, command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a command that ends by itself, with its output in the log of `name`."""
    with log_file(name) as log:
        return subprocess.Popen(list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def finish(name: str, process: "subprocess.Popen[bytes]", what: str) -> None:
    """Wait for such a command. Raises ServiceError when it failed."""
    code = process.wait()
    if code:
        raise ServiceError(f"{what} failed (code {code}); see {log_path(name)}, then start it again")


def python(*arguments: str) -> tuple[str, ...]:
    """A command of this very Python."""
    return (sys.executable, *arguments)
