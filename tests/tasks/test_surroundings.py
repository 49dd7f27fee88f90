"""Probes of the machine: folders, disk, limits, threads, time zone, proxies."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks import surroundings
from tasks.finding import DENIED, FULL, SETTING, Finding, ok, warning, worst_code, wrong
from tasks.surroundings import (
    MIB,
    check_folder,
    check_limits,
    check_proxies,
    check_space,
    check_temporary,
    check_threads,
    check_zone,
    cpu_quota,
    given_environment,
)


def of(folder: Path) -> Finding:
    return check_folder("data folder", folder, "CARRYOVER_HOME")


def test_a_folder_of_ones_own_is_as_it_should_be(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert of(tmp_path) == ok("data folder", f"{tmp_path}, mode 0700")
    assert of(tmp_path / "a" / "b").found.endswith("is not there yet; the first command makes it")
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_place_of_a_folder_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert of(tmp_path / "file" / "below").code == DENIED


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_folder_that_everybody_may_write_to_is_wrong(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    found = of(tmp_path)
    assert (found.code, found.remedy) == (DENIED, f"look at what is in it, then chmod 700 {tmp_path}")


def test_a_folder_without_permission_is_wrong_also_where_a_part_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw").mkdir()
    monkeypatch.setattr(os, "access", lambda place, _: Path(place).name != "raw")
    assert "not writable in it: raw" in of(tmp_path).found
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert of(tmp_path).code == DENIED
    assert of(tmp_path / "new").code == DENIED  # nor can it be made


def test_a_folder_of_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert of(tmp_path).state == "warning"


@pytest.mark.parametrize(("free", "state"), [(50 * MIB, "wrong"), (500 * MIB, "warning"), (5000 * MIB, "ok")])
def test_free_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = check_space(tmp_path / "not" / "there")[0]
    assert (found.state, found.code) == (state, FULL if state == "wrong" else 0)
    assert found.found == f"{free // MIB} MiB free at {tmp_path}"


@pytest.mark.parametrize(
    ("all_", "free", "state"), [(1000, 100, "wrong"), (10**6, 5000, "warning"), (10**6, 10**5, "ok"), (0, 0, "ok")]
)
def test_free_inodes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_: int, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=all_, f_favail=free))
    assert check_space(tmp_path)[1].state == state


@pytest.mark.parametrize(
    ("files", "size", "state"), [(64, -1, "warning"), (1024, 2 * MIB, "warning"), (1024, -1, "ok")]
)
def test_limits_of_the_shell_are_told(monkeypatch: pytest.MonkeyPatch, files: int, size: int, state: str) -> None:
    limits = {surroundings.resource.RLIMIT_NOFILE: files, surroundings.resource.RLIMIT_FSIZE: size}
    monkeypatch.setattr(surroundings.resource, "getrlimit", lambda which: (limits[which], -1))
    assert check_limits().state == state


@pytest.mark.parametrize(
    ("given", "cores", "quota", "state"),
    [
        (None, 2, None, "ok"),
        ("2", 2, None, "ok"),
        ("8", 2, None, "warning"),
        ("two", 2, None, "wrong"),
        ("0", 2, None, "wrong"),
        (None, 8, 1.5, "warning"),
        ("1", 8, 1.5, "ok"),
        ("4", 8, 1.5, "warning"),
    ],
)
def test_threads_are_held_against_the_cores(given: str | None, cores: int, quota: float | None, state: str) -> None:
    found = check_threads({} if given is None else {"OMP_NUM_THREADS": given}, 8, cores, quota)
    assert (found.state, found.code) == (state, SETTING if state == "wrong" else 0)
    if state != "ok":
        assert found.remedy == f"export OMP_NUM_THREADS={1 if quota else 2}"


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), (None, None)]
)
def test_a_containers_share_of_the_cores_is_read(tmp_path: Path, text: str | None, cores: float | None) -> None:
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert cpu_quota(tmp_path / "cpu.max") == cores


def test_an_unknown_time_zone_and_a_clock_of_the_past_are_told() -> None:
    now = 1.8e9  # in 2027
    assert check_zone({}, now).state == "ok"
    assert check_zone({"TZ": "Europe/Berlin"}, now).state == "ok"
    assert check_zone({"TZ": "Europe/Berln"}, now).found == "TZ is 'Europe/Berln', which is not known, so UTC is used"
    assert check_zone({}, 0.0).state == "warning"


@pytest.mark.parametrize(
    ("environment", "state", "remedy"),
    [
        ({}, "ok", ""),
        ({"HTTP_PROXY": ""}, "ok", ""),
        ({"HTTP_PROXY": "http://u:SECRET@p"}, "warning", "export NO_PROXY=127.0.0.1,localhost,::1"),
        ({"https_proxy": "p", "no_proxy": "shop,localhost"}, "warning", "export NO_PROXY=localhost,shop,127.0.0.1,::1"),
        ({"ALL_PROXY": "p", "NO_PROXY": "localhost, 127.0.0.1, ::1"}, "ok", ""),
        ({"HTTP_PROXY": "p", "NO_PROXY": "*"}, "ok", ""),
    ],
)  # fmt: skip
def test_a_proxy_before_servers_of_this_machine_is_told_without_its_address(
    environment: dict[str, str], state: str, remedy: str
) -> None:
    found = check_proxies(environment)
    assert (found.state, found.remedy) == (state, remedy)
    assert "SECRET" not in str(found)


def test_the_environment_is_read_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environ").write_bytes(b"A=1\0HTTP_PROXY=http://p?a=b\0\0")
    assert given_environment(tmp_path / "environ") == {"A": "1", "HTTP_PROXY": "http://p?a=b"}
    assert given_environment(tmp_path / "none") is os.environ


def test_a_temporary_folder_that_is_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_temporary().state == "ok"

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(surroundings.tempfile, "TemporaryFile", full)
    assert check_temporary().code == FULL


def test_a_temporary_folder_in_which_everybody_may_change_everything_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings.tempfile, "tempdir", str(tmp_path))
    assert check_temporary() == ok("temporary", str(tmp_path))
    tmp_path.chmod(0o777)
    assert check_temporary().code == DENIED


def test_the_exit_code_is_of_what_is_mended_first() -> None:
    assert worst_code([ok("a", ""), warning("b", "", "")]) == 0
    assert worst_code([wrong("a", "", "", 69), wrong("b", "", "", 73), wrong("c", "", "", 76)]) == 73
    assert worst_code([wrong("a", "", "", 77), wrong("b", "", "", 2)]) == 2
