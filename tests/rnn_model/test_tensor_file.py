"""A safetensors file is refused, with what is wrong, before anything of the size that it claims is allocated."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from rnn_model.errors import IntegrityError
from rnn_model.tensor_file import HEADER_LIMIT, Form, load_tensors, read_forms

Header = dict[str, Any]
GOOD: Header = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
}
DATA = bytes(32)


def entry(name: str = "a", **changes: object) -> Header:
    return GOOD | {name: GOOD[name] | changes}


def packed(header: Header | str, data: bytes = DATA) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


WHOLE = packed(GOOD)
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "less than the length": WHOLE[:7],
    "the length alone": WHOLE[:8],
    "half a header": WHOLE[:40],
    "data cut": WHOLE[:-1],
    "data past the end": WHOLE + b"\0",
    "a header longer than the file": (len(WHOLE)).to_bytes(8, "little") + WHOLE[8:],
    "a header of 2**63 bytes": (2**63).to_bytes(8, "little") + WHOLE[8:],
    "a header past the limit": (HEADER_LIMIT + 1).to_bytes(8, "little") + bytes(HEADER_LIMIT + 1),
    "no JSON": packed("{'a': 1}"),
    "no UTF-8": (4).to_bytes(8, "little") + b'{"\xff"',
    "no object": packed("[1, 2]"),
    "deep": packed("[" * 200_000),
    "a name twice": packed(json.dumps(GOOD)[:-1] + ', "a": ' + json.dumps(GOOD["a"]) + "}"),
    "a key twice": packed('{"a": {"dtype": "F32", "dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}'),
    "no tensor": packed({"a": 7}),
    "no dtype": packed({"a": {"shape": [8], "data_offsets": [0, 32]}}),
    "no shape": packed({"a": {"dtype": "F32", "data_offsets": [0, 32]}}),
    "no offsets": packed({"a": {"dtype": "F32", "shape": [8]}}),
    "one more key": packed(entry(code="rm")),
    "an unknown dtype": packed(entry(dtype="F31")),
    "a dtype that is no text": packed(entry(dtype=["F32"])),
    "a shape that is no list": packed(entry(shape=6)),
    "a negative size": packed(entry(shape=[-2, -3])),
    "a fraction": packed(entry(shape=[2.0, 3.0])),
    "a truth value": packed(entry(shape=[True, 6])),
    "a huge shape": packed(entry(shape=[2**40, 2**20])),
    "a shape that wraps": packed(entry(shape=[2**62, 4, 6])),
    "many dimensions": packed(entry(shape=[1] * 10_000 + [6])),
    "a shape larger than its bytes": packed(entry(shape=[2, 4])),
    "offsets in reverse": packed(entry(data_offsets=[24, 0])),
    "a negative offset": packed(entry(data_offsets=[-24, 0])),
    "three offsets": packed(entry(data_offsets=[0, 24, 32])),
    "offsets past the data": packed(entry("b", data_offsets=[24_000, 24_008])),
    "an overlap": packed(entry("b", data_offsets=[16, 24])),
    "a hole": packed(GOOD, DATA).replace(b"[24, 32]", b"[28, 36]") + bytes(4),
    "a hole in front": packed({"a": {"dtype": "F32", "shape": [7], "data_offsets": [4, 32]}}),
    "metadata that is no text": packed(GOOD | {"__metadata__": {"format": 1}}),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize("read", [read_forms, load_tensors])
def test_a_malformed_file_is_an_integrity_fault(tmp_path: Path, read: Callable[[Path], object], data: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"weights.safetensors: not a safetensors file \(.+\); make it anew"):
        read(path)


def test_a_claim_of_terabytes_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(packed({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="4398046511104 bytes, the file has 32"):
            read_forms(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_safetensors_writes_is_read_as_it_is(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.randn(3, 4),
        "none": torch.zeros(0, 4),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(tensors, {"format": "pt"}))
    assert read_forms(path) == {name: Form(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    assert all(torch.equal(value, tensors[name]) for name, value in load_tensors(path).items())
