"""Three logged models, and what a test does with them under a name of its own."""

import sqlite3
from pathlib import Path

from mlflow.tracking import MlflowClient

from rnn_model.checkpoint import ModelCard, save_model, weights_digest
from rnn_model.config import ModelConfig
from rnn_model.network import build_network
from tasks.champion import champion, promote
from tasks.config import TrackingConfig
from tasks.connection import connected
from tasks.handles import Decision, Model, Version
from tasks.ledger import Ledger, read_ledger
from tasks.registry import ledger_path, register

SAYS = {"metric": "SQL", "champion": "SeasonalNaive", "challenger": "full", "fingerprint": "f1"}
YES = Decision(outcome="promote", sentence="4% better on 12 series", **SAYS)
FROM = {"target": "d" * 64, "parent": "p" * 64, "source": "s" * 64}  # digests
NO = Decision(outcome="not enough evidence", sentence="no difference that chance would not make", **SAYS)


class Shelf:
    """Logged models by number, registered and promoted; what the registry and the ledger then say."""

    def __init__(self, config: TrackingConfig, logged: list[tuple[str, Model]], name: str) -> None:
        self.config, self.logged, self.name = config, logged, name

    def register(self, number: int, decision: Decision = YES, key: str = "night") -> Version:
        uri, model = self.logged[number - 1]
        return register(self.name, uri, model, decision, key, self.config)

    def promote(self, number: int, expected: int | None, key: str | None = None) -> str:
        key = key or f"night {number}"
        return promote(self.register(number, key=key), expected, YES, key, self.config).result

    def succession(self, *numbers: int) -> None:
        before = None
        for number in numbers:
            assert self.promote(number, before) == "promoted"
            before = number

    @property
    def champion(self) -> int | None:
        found = champion(self.name, self.config)
        return found.version if found else None

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.config.uri)

    @property
    def ledger(self) -> Ledger:
        return read_ledger(ledger_path(self.name, str(self.config.uri)))

    def execute(self, statement: str) -> None:
        """Change the store behind MLflow's back."""
        with sqlite3.connect(str(self.config.uri).removeprefix("sqlite:///")) as database:
            database.execute(statement)
        database.close()


def log_three(store: TrackingConfig, root: Path) -> list[tuple[str, Model]]:
    """Address and model, of three that differ in their weights."""
    made = []
    with connected(store) as client:
        experiment = client.create_experiment(root.name, artifact_location=(root / "artifacts").as_uri())
        for seed in range(3):
            network = build_network(ModelConfig(width=8, num_layers=1, patch=4, context=16), 4, seed=seed)
            card = ModelCard(model=network.config, freq="D", periods=(7, 364), horizon=4, strategy="full", lineage=FROM)
            folder = save_model(network, card, root / str(seed) / "model")
            about = client.create_logged_model(experiment, source_run_id=client.create_run(experiment).info.run_id)
            client.log_model_artifacts(about.model_id, str(folder.parent))
            client.finalize_logged_model(about.model_id, "READY")
            model = Model(folder=folder, weights=weights_digest(network), strategy="full", context=16)
            made.append((about.model_uri, model))
    return made
