"""Without a GPU: a pretended one computes on the CPU, says it is cuda:0, and lets in no tensor of the host but scalars.

What a training would mix up on a GPU fails here; kernels and their precision are for test_gpu.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from rnn_model.config import FitConfig
from rnn_model.network import Network
from rnn_model.resume import States
from rnn_model.training import Material, Watch, fit

Build = Callable[..., Network]
Learn = Callable[..., Material]
QUICK = FitConfig(steps=2, batch_size=8, validate_every=1, learning_rate=0.01, averaging=0.5)
# these speak of devices and classes, and compute nothing
UNTOUCHED = (torch.device, torch._C._nn._parse_to, torch._has_compatible_shallow_copy_type)


class OnGpu(Tensor):
    """A tensor in the host's memory that says it is on the GPU."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda:0")


class PretendedGpu(TorchFunctionMode):
    """While entered: what is made on a GPU or moved there is OnGpu, what comes of it too, and strangers are refused."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        attribute = func.__name__ in ("__get__", "__set__")
        if func in UNTOUCHED or (attribute and func.__self__ is not Tensor.grad):
            return func(*args, **(kwargs or {}))
        if func is Tensor.__deepcopy__:
            func, args = Tensor.clone, args[:1]
        given = (args, kwargs or {})
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        own = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
        strange = any(tensor.dim() for tensor in tensors if not isinstance(tensor, OnGpu))
        if own and (func in (Tensor.numpy, Tensor.__array__) or (strange and func is not Tensor.copy_)):
            raise RuntimeError(f"{func.__name__}: a tensor of cuda:0 beside one of the host")
        asked = [torch.device(leaf).type for leaf in tree_leaves(given) if names_a_device(leaf)]
        onto_gpu = "cuda" in asked if asked else bool(own) and func is not Tensor.cpu
        args, kwargs = tree_map_only((str, torch.device), lambda leaf: "cpu" if names_a_device(leaf) else leaf, given)
        with torch._C.DisableTorchFunctionSubclass():
            out = func(*args, **kwargs)
        if onto_gpu:
            return tree_map_only(Tensor, lambda t: t if type(t) is OnGpu else t.as_subclass(OnGpu), out)
        return tree_map_only(OnGpu, lambda t: t.as_subclass(Tensor), out)


def names_a_device(leaf: object) -> bool:
    return isinstance(leaf, torch.device) or (isinstance(leaf, str) and leaf.split(":")[0] in ("cpu", "cuda"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """One GPU, to be entered."""

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *rest: Any, **options: Any) -> None:
            super().__init__("cpu", *rest, **options)  # where it is computed

    monkeypatch.setattr(torch, "autocast", Autocast)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter changes its class as it moves
    yield PretendedGpu()
    torch.__future__.set_overwrite_module_params_on_conversion(before)


def there(config: FitConfig) -> FitConfig:
    return config.model_copy(update={"device": "cuda"})


def test_it_refuses_to_mix_devices(gpu: PretendedGpu) -> None:
    with gpu:
        one = torch.arange(3, device="cuda")
        assert (one + one).device.type == one.max().device.type == "cuda"
        assert (one + 1).cpu().device.type == "cpu"
        with pytest.raises(RuntimeError, match="beside one of the host"):
            one + torch.arange(3)
        for to_numpy in (Tensor.numpy, np.asarray):
            with pytest.raises(RuntimeError, match=r"numpy|array"):
                to_numpy(one)


@pytest.mark.parametrize(
    ("spine", "cell", "precision"),
    [
        *[("residual", "lstm", precision) for precision in ("float32", "bfloat16")],
        *[("plain", cell, "bfloat16") for cell in ("gru", "elman")],
    ],
)
def test_a_training_there_is_one_here(
    gpu: PretendedGpu, lively: Build, material: Learn, spine: str, cell: str, precision: str
) -> None:
    config = QUICK.model_copy(update={"precision": precision})
    moved, stayed = (lively(spine=spine, cell=cell) for _ in range(2))
    places = []
    with gpu:
        watch = Watch(tick=lambda _: places.append({value.device.type for value in moved.state_dict().values()}))
        losses = [row.validation_loss for row in fit(moved, material(), there(config), watch, pull=0.1).history]
        assert {value.device.type for value in moved.state_dict().values()} == {"cpu"}
    assert places == [{"cuda"}] * QUICK.steps
    assert losses == [row.validation_loss for row in fit(stayed, material(), config, pull=0.1).history]
    for name, value in stayed.state_dict().items():
        assert torch.equal(moved.state_dict()[name], value), name


def test_an_interrupted_training_goes_on_there(
    gpu: PretendedGpu, lively: Build, material: Learn, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    whole, begun, resumed = (lively(spine="plain") for _ in range(3))
    with gpu:
        fit(whole, material(), there(QUICK), pull=0.1)
        with pytest.raises(KeyboardInterrupt):
            fit(begun, material(), there(QUICK), Watch(tick=stop), States(tmp_path), pull=0.1)
        seen: list[int] = []
        fit(resumed, material(), there(QUICK), Watch(tick=seen.append), States(tmp_path), pull=0.1)
    assert seen == [1, 2]  # where it had come to, and on
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
