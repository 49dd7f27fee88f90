"""The command: options from the flows' signatures, files under them, exit codes, one last line on stderr."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest

from flows.cli import COMMANDS, ENDING, command_class, main, run

WITHOUT_TARGET = ("doctor", "sync", "pretrain", "leaderboard", "replay", "rollback", "services", "down")
MONTHS = pl.datetime_range(pl.datetime(2010, 1, 1), pl.datetime(2014, 12, 1), "1mo", eager=True)
TINY = [
    *("--model.width", "8", "--model.num_layers", "1", "--model.context", "32", "--model.patch", "4"),
    *("--source.synthetic.series", "64", "--source.synthetic.length", "64"),
    *("--pretrain.from", "nothing", "--pretrain.steps", "2", "--pretrain.batch_size", "8"),
    *("--finetune.steps", "2", "--finetune.batch_size", "8"),
    *("--window.horizon", "4", "--backtest.cutoffs", "1", "--backtest.baselines", '["SeasonalNaive"]'),
]


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    names = ("north", "south", "west")
    frames = [pl.DataFrame({"store": n, "day": MONTHS.dt.date(), "units": range(len(MONTHS))}) for n in names]
    pl.concat(frames).write_csv(path)
    return path


def mapped(path: Path) -> list[str]:
    columns = [("id", "store"), ("ds", "day"), ("y", "units")]
    options = [text for name, column in columns for text in (f"--target.columns.{name}", column)]
    return ["--target.path", str(path), "--target.freq", "MS", *options]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window.horizon", "0"], "window.horizon: Input should be greater than or equal to 1"),
        (["--window.horizon", "513"], "window.horizon: Input should be less than or equal to 512"),
        (["--window.horizon", "many"], "window.horizon: Input should be a valid integer"),
        (["--windo.horizon", "3"], "did you mean --window.horizon?"),
        (["--pretrain.batch_size", "0"], "pretrain.batch_size: Input should be greater than or equal to 1"),
        (["--finetune.learning_rate", "0"], "finetune.learning_rate: Input should be greater than 0"),
        (["--model.context", "30", "--model.patch", "8"], "context 30 is not a multiple of patch 8; use 24"),
        (["--target.path", "x.csv"], "without freq"),
        (["--target.path", "x.csv", "--target.freq", "fortnight"], "freq 'fortnight' is not known"),
        (["--force", "true"], "a switch stands alone, as in --force or --no-force"),
        (["--config", "nowhere.yaml"], "neither a file nor a preset; presets are base, keras-example"),
    ],
)
def test_a_wrong_option_exits_2_and_names_the_field(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", *options]) == 2
    assert words in last_line(capsys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 50_000, "not YAML (brackets are nested too deeply)"),
        ("a: " + "{a: " * 50_000, "not YAML (brackets are nested too deeply)"),
        ("# " + "x" * 2**20, "larger than 1 MiB"),
    ],
    ids=["lists", "mappings", "huge"],
)
def test_a_file_of_options_that_cannot_be_meant_exits_2(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(text)
    assert run(["run", "--config", str(tmp_path / "own.yaml")]) == 2
    assert words in last_line(capsys)


@pytest.mark.parametrize("options", [["--grid.seed", "[" * 100_000], ["--window", '{"a":' * 20_000]])
def test_an_option_with_deep_brackets_exits_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", *options]) == 2
    assert len(last_line(capsys)) < 500


def test_an_unknown_command_exits_2_and_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["walk"]) == 2
    words = last_line(capsys)
    assert all(name in words for name in COMMANDS)


def test_needed_parameters_may_be_given_by_position() -> None:
    from flows.cli import by_position

    assert by_position("replay", ["abc", "--tolerance", "0"]) == ["--run", "abc", "--tolerance", "0"]
    assert by_position("replay", ["--run", "abc"]) == ["--run", "abc"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["replay", "a", "b"], "'b' is one too many; carryover replay takes RUN"),
        (["run", "a"], "'a' is one too many; carryover run takes options only, such as --seed 1"),
        (["replay"], "run: Field required"),
    ],
)
def test_words_that_do_not_fit_exit_2(line: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 2
    assert words in last_line(capsys)


def test_a_prefect_server_that_is_down_exits_69_without_its_password(tmp_path: Path) -> None:
    environment = os.environ | {
        "PREFECT_API_URL": "http://user:canary@127.0.0.1:9/api",
        "CARRYOVER_HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "flows.cli", "forecast"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 69
    assert done.stderr.splitlines()[-1] == (
        "carryover: Prefect at http://127.0.0.1:9/api/ does not answer; start it, or unset PREFECT_API_URL"
    )
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert all(b"canary" not in text for text in [*written, done.stdout.encode(), done.stderr.encode()])


def test_unknown_keys_of_a_file_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("window: {horizn: 3}\n")
    assert run(["run", "--config", str(tmp_path / "c.yaml")]) == 2
    assert "window.horizn: Extra inputs are not permitted" in last_line(capsys)


def test_options_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("window: {horizon: 5, validation: 4}\nseed: 9\n")
    from flows.cli import parse

    command = parse(
        command_class("run", COMMANDS["run"], file), "run", ["--window.horizon", "7", "--config", str(file)]
    )
    assert (command.window.horizon, command.window.validation, command.seed) == (7, 4, 9)  # type: ignore[attr-defined]
    assert command.window.min_history == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", ["option", "file"])
def test_a_run_can_start_from_a_model(tmp_path: Path, given: str) -> None:
    from flows.cli import parse

    file = tmp_path / "c.yaml"
    file.write_text("pretrain: {from: base, steps: 7}\n" if given == "file" else "pretrain: {steps: 7}\n")
    options = ["--config", str(file), *(["--pretrain.from", "base"] if given == "option" else [])]
    command = parse(command_class("run", COMMANDS["run"], file), "run", options)
    assert (command.pretrain.from_, command.pretrain.steps) == ("base", 7)  # type: ignore[attr-defined]


def test_the_preset_is_the_articles_network() -> None:
    from flows.cli import config_file, parse

    options = ["--config", "keras-example"]
    command = parse(command_class("run", COMMANDS["run"], config_file(options)), "run", options)
    model, training = command.model, command.pretrain  # type: ignore[attr-defined]
    assert (model.cell, model.num_layers, model.width, model.spine, training.batch_size) == (
        "elman",
        2,
        50,
        "plain",
        32,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run([name, "--help"])
    shown = capsys.readouterr().out
    assert "--target.path" in shown or name in WITHOUT_TARGET
    assert "(default: None)" in shown


@pytest.mark.usefixtures("prefect_server")
class TestRuns:
    def test_run_with_mapped_columns_writes_the_summary(self, sales: Path, tmp_path: Path) -> None:
        summary = tmp_path / "s.json"
        assert run(["run", *mapped(sales), *TINY, "--summary", str(summary)]) == 0
        found = json.loads(summary.read_text())
        names = {"zero-shot", "full", "mirrored", "biases", "scratch", "average", "ensemble", "SeasonalNaive"}
        assert set(found["evaluation"]["table"]) == names == set(found["evaluation"]["runs"])
        assert found["account"]["rows_in"] == 3 * len(MONTHS)
        assert len(found["evaluation"]["fingerprint"]) == len(found["data"]) == 64

    def test_the_articles_network_runs_through_the_pipeline(self, sales: Path, tmp_path: Path) -> None:
        summary = tmp_path / "s.json"
        small = [*TINY[8:], "--config", "keras-example", "--summary", str(summary)]
        assert run(["run", *mapped(sales), *small]) == 0
        table = json.loads(summary.read_text())["evaluation"]["table"]
        assert table["scratch"]["MASE"] > 0

    def test_forecast_answers_every_series(
        self, sales: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        summary, output = tmp_path / "s.json", tmp_path / "out" / "f.parquet"
        assert run(["run", *mapped(sales), *TINY, "--summary", str(summary)]) == 0
        model = json.loads(summary.read_text())["model_uri"]
        short = pl.read_csv(sales).group_by("store", maintain_order=True).head(1)
        short.write_csv(tmp_path / "short.csv")
        options = [*mapped(tmp_path / "short.csv"), "--window.horizon", "6", "--output", str(output)]
        assert run(["forecast", "--model", model, *options]) == 0
        frame = pl.read_parquet(output)
        assert frame.columns == ["unique_id", "ds", "cutoff", "y_hat", *(f"0.{i}" for i in range(1, 10)), "path"]
        assert frame["path"].unique().to_list() == ["short"]
        assert frame.group_by("unique_id").len().sort("unique_id").rows() == [("north", 6), ("south", 6), ("west", 6)]
        assert frame.null_count().sum_horizontal().item() == 0

    def test_missing_file_exits_65(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["run", "--target.path", "nowhere.csv", "--target.freq", "MS"]) == 65
        assert "nowhere.csv: no such file" in last_line(capsys)

    def test_text_in_a_number_column_exits_65_with_its_row(
        self, sales: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = sales.read_text().splitlines()
        lines[4] = "north,2010-04-01,many"
        sales.write_text("\n".join(lines) + "\n")
        assert run(["run", *mapped(sales)]) == 65
        assert "row 5, series 'north': y is 'many'" in last_line(capsys)

    def test_wrong_frequency_exits_65_and_names_the_likely_one(
        self, sales: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = [text if text != "MS" else "h" for text in mapped(sales)]
        assert run(["run", *options]) == 65
        assert "look like freq MS" in last_line(capsys)

    def test_horizon_longer_than_history_exits_65_with_both_figures(
        self, sales: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["run", *mapped(sales), "--window.horizon", "60"]) == 65
        assert "shorter than 63" in last_line(capsys)

    def test_unknown_model_exits_2(self, sales: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = ["--output", str(tmp_path / "f.parquet")]
        assert run(["forecast", "--model", "nobody", *mapped(sales), *output]) == 2
        assert "model 'nobody' is not known" in last_line(capsys)

    def test_a_run_id_that_does_not_exist_exits_2(
        self, sales: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = ["--output", str(tmp_path / "f.parquet")]
        assert run(["forecast", "--model", "0" * 32, *mapped(sales), *output]) == 2
        assert f"run '{'0' * 32}' is not in sqlite:" in last_line(capsys)

    def test_a_tracking_server_that_is_down_exits_69_without_its_password(
        self, sales: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:canary@127.0.0.1:9")
        assert run(["run", *mapped(sales), *TINY]) == 69
        everything = capsys.readouterr()
        assert "127.0.0.1:9 does not answer" in everything.err
        assert "canary" not in everything.err + everything.out


def test_a_real_process_ends_with_one_line_and_the_code() -> None:
    command = [sys.executable, "-m", "flows.cli", "run", "--window.horizon", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "carryover: window.horizon: Input should be greater than or equal to 1 (got '0')"


@pytest.fixture
def default_signals() -> Iterator[None]:
    """As in a shell, whoever started the tests; and as they were, afterwards."""
    before = {each: signal.signal(each, signal.SIG_DFL) for each in ENDING}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("sent", ENDING)
def test_what_ends_a_process_ends_it_in_order_and_once(
    sent: signal.Signals, default_signals: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.cli.execute", lambda *_: os.kill(os.getpid(), sent) or time.sleep(5))
    with pytest.raises(SystemExit, match="143"):
        main(["run"])
    assert last_line(capsys).startswith("carryover: terminated; finished stages are kept")
    assert {signal.getsignal(each) for each in ENDING} == {signal.SIG_IGN}


@pytest.mark.parametrize("ignored", ENDING)
def test_what_is_ignored_stays_so(
    ignored: signal.Signals, default_signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the signal of a closed terminal is under nohup."""
    signal.signal(ignored, signal.SIG_IGN)
    monkeypatch.setattr("flows.cli.execute", lambda *_: os.kill(os.getpid(), ignored) or 0)
    with pytest.raises(SystemExit, match="0"):
        main(["run"])


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code", "word"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")])
def test_a_stopped_process_says_so_and_leaves_no_server_behind(
    tmp_path: Path, sales: Path, sent: str, code: int, word: str
) -> None:
    """All its processes get the signal, as from a service manager or by Ctrl-C of a terminal."""
    options = [*mapped(sales), *TINY, "--pretrain.steps", "1000000", "--pretrain.validate_every", "2"]
    options += ["--pretrain.patience", "10000"]
    environment = os.environ | {"CARRYOVER_HOME": str(tmp_path / "home")}
    states = tmp_path / "home" / "models"
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "flows.cli", "run", *options]
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, start_new_session=True)
    try:
        for _ in range(1200):
            if list(states.glob("*.state/step-*")):  # the training is on its way
                break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert list(states.glob("*.state/step-*")), (tmp_path / "log").read_text()
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, getattr(signal, sent))
        assert process.wait(timeout=60) == code
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for each in (process, *left):
            each.kill()
    assert f"carryover: {word}; finished stages are kept" in (tmp_path / "log").read_text().splitlines()[-1]
    assert children
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
