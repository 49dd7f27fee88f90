"""`carryover doctor` as a whole: its table, exit code and summary, also where nothing else can be imported."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import doctor
from flows.cli import run
from flows.doctor import Probe, examine, in_words, main, probes
from tasks.finding import AWAY, DENIED, Finding, ok, warning, wrong
from tasks.installation import IMPORTED

PROJECT = Path(__file__).parents[2]
FINE = Probe("fine", lambda: ok("fine", "all well"))


def told(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the doctor find this."""
    monkeypatch.setattr(doctor, "probes", lambda: [Probe(f.part, lambda f=f: f) for f in findings])


def test_nothing_wrong_exits_0_with_warnings_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, ok("disk", "much"), warning("threads", "8 on 2 cores", "use 2"))
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "warning", "do:", "Nothing"]
    assert lines[2].strip() == "do: use 2"


def test_what_is_wrong_gives_its_exit_code_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told(monkeypatch, wrong("MLflow", "away", "start it", AWAY), wrong("data folder", "closed", "open it", DENIED))
    assert run(["doctor", "--summary", str(tmp_path / "s.json")]) == DENIED
    assert capsys.readouterr().out.splitlines()[-1] == "2 wrong, 0 to be looked at; exit code 77."
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["exit_code"] == DENIED
    assert summary["findings"][0] == {
        "part": "MLflow", "state": "wrong", "found": "away", "remedy": "start it", "code": 69
    }  # fmt: skip


def test_a_summary_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told(monkeypatch, ok("disk", "much"))
    assert main(["--summary", str(tmp_path / "none" / "s.json")]) == 73
    assert "No such file or directory" in capsys.readouterr().err


def test_a_probe_that_breaks_hangs_or_is_denied_stops_no_other() -> None:
    def broken() -> Finding:
        raise RuntimeError("SECRET")

    def denied() -> Finding:
        raise PermissionError(13, "Permission denied", "/data")

    asked = [
        Probe("broken", broken),
        Probe("slow", lambda: time.sleep(60) or ok("", ""), 0.2),
        Probe("denied", denied),
        FINE,
    ]
    begun = time.monotonic()
    found = [line for lines in examine(asked) for line in lines]
    assert time.monotonic() - begun < 30
    assert [line.state for line in found] == ["warning", "warning", "wrong", "ok"]
    assert found[0].found == "could not be looked at (RuntimeError)"
    assert found[1].found == "no answer within 0.2 s"
    assert found[2] == wrong("denied", "/data: Permission denied", "give it to this user", DENIED)


def test_every_part_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_DATABASE", "postgresql://me:SECRET@127.0.0.1/x")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_PROFILE", "none of these")
    parts = [probe.part for probe in probes()]
    assert parts == [
        "Python", "versions", "data folder", "temporary", "disk", "limits", "threads", "time zone", "proxies",
        "Prefect", "MLflow", "MLflow store", "Prefect store", "database", "imports",
    ]  # fmt: skip


def test_a_finding_stays_on_its_line() -> None:
    assert in_words(ok("disk", "two\nlines")) == ["ok      disk           two lines"]


@pytest.mark.parametrize("module", ["flows.cli", "flows.entry"])
def test_it_works_where_no_library_can_be_imported(tmp_path: Path, module: str) -> None:
    """Libraries that raise when imported: for this command, and for the Pythons that it tries them in."""
    for name in {name.partition(".")[0] for name in IMPORTED} | {"pydantic", "yaml", "requests", "rich", "numpy"}:
        (tmp_path / "lib" / name).mkdir(parents=True)
        (tmp_path / "lib" / name / "__init__.py").write_text(f"raise ImportError('{name} is broken')")
    home = tmp_path / "home"
    path = os.pathsep.join([str(tmp_path / "lib"), str(PROJECT)])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "MLFLOW", "CARRYOVER"))}
    environment = kept | {"PYTHONPATH": path, "CARRYOVER_HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
    program = f"import sys; sys.argv[0] = 'carryover'; import runpy; runpy.run_module({module!r}, run_name='__main__')"
    if module == "flows.entry":
        program = "from flows.entry import main; main()"
    command = [sys.executable, "-c", program, "doctor"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("wrong   imports") for line in lines) == len(IMPORTED)
    assert any("prefect.server.api.server (prefect, pinned: " in line and "prefect is broken" in line for line in lines)
    assert done.stderr == ""
    assert not home.exists()  # nothing is made


def test_the_overview_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "  doctor       Say what is wrong with this installation" in capsys.readouterr().out
