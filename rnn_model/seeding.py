"""Random numbers with an address: every draw is a function of (seed, purpose, step), never of what ran before.

That makes a resumed run equal to an uninterrupted one without storing any generator's state.
"""

import zlib

import numpy as np
import torch


def numpy_rng(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """A NumPy generator for one purpose and step, e.g. `numpy_rng(7, "batches", 120)`."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), step]))


def torch_rng(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A torch CPU generator for one purpose and step."""
    generator = torch.Generator()
    generator.manual_seed(int(numpy_rng(seed, purpose, step).integers(2**62)))
    return generator
