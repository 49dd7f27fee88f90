"""Tensors in a safetensors file, whose header is checked before anything of the size that it claims is allocated.

The format (https://github.com/huggingface/safetensors#format): 8 bytes hold the length of the header, little-endian;
the header is JSON, name -> dtype, shape, data_offsets; then come the tensors' bytes, without a hole.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rnn_model.errors import IntegrityError, UnsafeError
from rnn_model.json_file import parse_json

HEADER_LIMIT = 16 * 2**20  # bytes: a header has about 100 for each tensor
DIMENSIONS = 8  # of a tensor, at most
SIZE_LIMIT = 2**48  # of one dimension
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt", ".cloudpickle", ".dill")
ZIP, PICKLE_PROTOCOLS = b"PK\x03\x04", tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


class Form(NamedTuple):
    """Type and shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.shape} {str(self.dtype).removeprefix('torch.')}"


def form_of(tensor: Tensor) -> Form:
    """The form of a tensor that is there."""
    return Form(tensor.dtype, tuple(tensor.shape))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors by name. Raises IntegrityError, or UnsafeError for a pickle, before any is allocated."""
    read_forms(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise IntegrityError(f"{path}: not a readable safetensors file ({error}); make it anew") from error


def read_forms(path: Path) -> dict[str, Form]:
    """What tensors a file holds, by its header alone, which has to account for every byte of the file.

    Raises IntegrityError for any other file, UnsafeError for one that holds a pickle.
    """
    try:
        with path.open("rb") as handle:
            size = path.stat().st_size - 8
            length = int.from_bytes(start := handle.read(8), "little")
            if len(start) < 8 or length > min(size, HEADER_LIMIT):
                raise ValueError(f"a header of {length} bytes in a file of {size + 8}")
            header = parse_json(handle.read(length).decode())
        return _forms(header, size - length)
    except (OSError, ValueError) as error:
        if is_pickle(path):
            refuse_pickle(path)
        raise IntegrityError(f"{path}: not a safetensors file ({error}); make it anew, or name another") from error


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or a zip such as torch.save writes, by its name or its first bytes."""
    if path.suffix.lower() in PICKLED:
        return True
    try:
        with path.open("rb") as handle:
            return handle.read(4).startswith((ZIP, *PICKLE_PROTOCOLS))
    except OSError:
        return False


def refuse_pickle(path: Path) -> NoReturn:
    """Raise UnsafeError: loading such a file runs what it says."""
    raise UnsafeError(
        f"{path}: a pickle, which runs code when it is loaded; carryover loads models of safetensors and JSON alone. "
        "Make the model with carryover, or name another."
    )


def _forms(header: Any, size: int) -> dict[str, Form]:
    """The header's tensors; raises ValueError unless they fill `size` bytes one after the other."""
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    about = header.pop("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise ValueError("__metadata__ is not text by name")
    forms, spans = {}, []
    for name, entry in header.items():
        forms[name], span = _entry(name, entry)
        spans.append((*span, name))
    end = 0
    for begin, until, name in sorted(spans):
        if begin != end:
            raise ValueError(f"{name!r} begins at byte {begin} of the data, expected {end}")
        end = until
    if end != size:
        raise ValueError(f"its tensors have {end} bytes, the file has {size} of them")
    return forms


def _entry(name: str, entry: Any) -> tuple[Form, tuple[int, int]]:
    """Form and place of one tensor. Raises ValueError."""
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} has not exactly a dtype, a shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name!r} has the dtype {dtype!r}; known are {', '.join(DTYPES)}")
    if not _sizes(shape) or len(shape) > DIMENSIONS:
        raise ValueError(f"{name!r} has no shape of at most {DIMENSIONS} whole numbers")
    if not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has no two data_offsets from 0 on")
    form = Form(DTYPES[dtype], tuple(shape))
    held, needed = offsets[1] - offsets[0], math.prod(shape) * form.dtype.itemsize
    if held != needed:
        raise ValueError(f"{name!r} has {held} bytes, its shape needs {needed}")
    return form, (offsets[0], offsets[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= SIZE_LIMIT for n in value)
