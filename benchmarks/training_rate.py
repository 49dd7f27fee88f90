"""The training loop against bare compute on the same batch: python benchmarks/training_rate.py [preset]

Bare compute is forward, backward and optimiser step on one resident batch. Prints windows per second of both, of the
loop with real drawing, and of the corpus generator; the ratios are what counts.
"""

import sys
import time
from pathlib import Path

import torch
import yaml

from rnn_model.config import ModelConfig, SyntheticConfig
from rnn_model.corpus import generate
from rnn_model.network import build_network
from rnn_model.training import Material, batch_loss, fit
from rnn_model.windows import Batch
from tasks.config import PretrainConfig

STEPS, HORIZON, ROUNDS = 40, 8, 3
PRESETS = Path(__file__).parents[1] / "flows" / "presets"


def main(preset: str | None) -> None:
    """Alternate the three loops, and print the best of each."""
    options = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text()) if preset else {}
    model = ModelConfig(**options.get("model", {}))
    given = options.get("pretrain", {}) | {"steps": STEPS, "validate_every": STEPS}
    config = PretrainConfig.model_validate(given)
    started = time.perf_counter()
    corpus = generate(SyntheticConfig(series=4096), (1, 4), seed=0)
    print(f"generator: {len(corpus) / (time.perf_counter() - started):,.0f} series per second")
    draw = corpus.drawing(config.batch_size, model.context, HORIZON, 1, seed=0)
    resident = draw(1)
    judged = Batch(*(part[:8] for part in resident))  # what validates costs next to nothing
    rates: dict[str, float] = {}
    for _ in range(ROUNDS):
        network = build_network(model, HORIZON, seed=0)
        optimiser = torch.optim.AdamW(network.parameters())
        started = time.perf_counter()
        for _ in range(STEPS):
            optimiser.zero_grad(set_to_none=True)
            batch_loss(network, resident).backward()
            optimiser.step()
        bare = STEPS * config.batch_size / (time.perf_counter() - started)
        rates["bare"] = max(rates.get("bare", 0), bare)
        for name, drawn in (("loop, resident batch", lambda _: resident), ("loop, drawing", draw)):
            network = build_network(model, HORIZON, seed=0)
            started = time.perf_counter()
            fit(network, Material(drawn, [judged]), config)
            rates[name] = max(rates.get(name, 0), STEPS * config.batch_size / (time.perf_counter() - started))
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} windows per second, {rate / rates['bare']:.2f} of bare")
    print(f"threads {torch.get_num_threads()}, batch {config.batch_size}, context {model.context}, seed 0")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
