"""A query carried through the whole chain: the same result as its rows in a file, and its address shown nowhere."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_cluster import Cluster, postgres_cluster
from prefect.blocks.system import Secret
from prefect.settings import get_current_settings
from tiny_pipeline import series

from flows.cli import run
from tasks import replay
from tasks.config import TrackingConfig
from tasks.receipt import RECEIPT, Receipt
from tasks.sameness import same_receipt

CANARY = "canary/7@x%y"
CHAIN = [
    *("--model.width", "8", "--model.num_layers", "1", "--model.context", "32", "--model.patch", "4"),
    *("--source.synthetic.series", "64", "--source.synthetic.length", "64"),
    *("--pretrain.from", "nothing", "--pretrain.steps", "2", "--pretrain.batch_size", "8"),
    *("--finetune.steps", "2", "--finetune.batch_size", "8", "--finetune.strategies", '["biases"]'),
    *("--window.horizon", "4", "--backtest.cutoffs", "1", "--backtest.baselines", '["SeasonalNaive"]'),
    *("--target.freq", "MS", "--target.called", "shop sales"),
]
QUERY = ["--target.query", "SELECT * FROM sales"]
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres_cluster(CANARY) as running:
        running.create_database("shop")
        running.execute("shop", "CREATE TABLE sales (unique_id text, ds timestamp, y numeric)")
        running.execute("shop", "INSERT INTO sales VALUES (%s, %s, %s)", series().rows())
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for the module, and a log file that is in it."""
    folder = tmp_path_factory.mktemp("sources") / "data"
    for name in ("carryover", "prefect"):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(handler)
    return folder


@pytest.fixture(autouse=True)
def surroundings(place: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_HOME", str(place))
    monkeypatch.setenv("SHOP_DB", cluster.uri("shop"))


@pytest.fixture(scope="module")
def by_block(place: Path, cluster: Cluster) -> Receipt:
    """The receipt of a run whose address stands in a Secret block."""
    Secret(value=cluster.uri("shop")).save("shop-db", overwrite=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_HOME", str(place))
        assert run(["run", *CHAIN, *QUERY, "--target.connection", "block:shop-db"]) == 0
    return latest(place)


def latest(place: Path) -> Receipt:
    newest = max(place.glob(f"receipts/*/{RECEIPT}"), key=lambda path: path.stat().st_mtime)
    return Receipt.model_validate(json.loads(newest.read_text()))


def verdicts(was: Receipt, got: Receipt) -> dict[str, str]:
    return {stage.stage: stage.verdict for stage in same_receipt(was, got, 1e-6)}


def test_a_query_gives_what_a_file_of_its_rows_gives(by_block: Receipt, place: Path, tmp_path: Path) -> None:
    series().write_csv(tmp_path / "rows.csv")
    assert run(["run", *CHAIN, "--target.path", str(tmp_path / "rows.csv")]) == 0
    found = verdicts(by_block, latest(place))
    assert set(found.values()) == {"equal"}
    assert {"ingest", "validate", "window", "fine-tune biases", "evaluation"} <= set(found)


def test_a_receipt_of_a_query_holds_its_words_and_where_its_address_is(by_block: Receipt) -> None:
    given = by_block.given["target"]
    assert (given["query"], given["connection"]) == ("SELECT * FROM sales", "block:shop-db")
    assert by_block.files == {"source": (), "target": ()}


def test_a_replay_hands_a_blocks_address_to_its_fresh_process_alone(by_block: Receipt, cluster: Cluster) -> None:
    asked = replay.parameters(by_block, TrackingConfig())
    found = replay.secrets(asked)
    assert found == {"CARRYOVER_REPLAYED_TARGET": cluster.uri("shop")}
    assert asked["target"]["connection"] == "CARRYOVER_REPLAYED_TARGET"
    assert by_block.given["target"]["connection"] == "block:shop-db"


@pytest.mark.parametrize(
    ("options", "change", "code", "words"),
    [
        (QUERY, (CANARY[:6], "canary-wrong"), 77, "refuses the login"),
        (QUERY, ("/shop", "/none"), 69, 'database "none" does not exist'),
        (["--target.query", "SELECT * FROM nothere"], ("", ""), 2, 'relation "nothere" does not exist'),
        (["--target.query", "SELECT *, 1 AS y FROM sales"], ("", ""), 65, "column 'y' occurs 2 times"),
    ],
    ids=["password", "database", "table", "columns"],
)
def test_what_fails_ends_in_one_line_and_its_code(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    change: tuple[str, str],
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("SHOP_DB", cluster.uri("shop").replace(*change))
    assert run(["run", *CHAIN, *options, "--target.connection", "SHOP_DB"]) == code
    said = capfd.readouterr()
    assert words in said.err.strip().splitlines()[-1]
    assert "canary" not in said.err + said.out


@pytest.mark.parametrize("name", ["path", "query", "connection"])
def test_a_secret_given_as_an_option_is_not_repeated(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", *CHAIN, f"--target.{name}", "postgresql://me:canary@host/db"]) == 2
    assert "canary" not in capfd.readouterr().err


def test_the_secret_stands_in_no_file_and_no_database(by_block: Receipt, place: Path) -> None:
    """It comes last: everything above has left its traces by now."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert {"mlflow.db", "carryover.log", RECEIPT} <= {path.name for path in files}
    url = str(get_current_settings().server.database.connection_url.get_secret_value())
    database = Path(re.sub(r"^sqlite\+aiosqlite:///", "", url))
    assert database.is_file()
    files += list(database.parent.glob(f"{database.name}*"))
    assert b"shop-db" in b"".join(path.read_bytes() for path in files)  # what is looked for would be found
    assert [path for path in files if b"canary" in path.read_bytes()] == []
