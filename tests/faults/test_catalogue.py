"""The catalogue names tests that exist."""

import ast
from functools import cache
from pathlib import Path

import pytest
from catalogue import CASES

TESTS = Path(__file__).parents[1]


@cache
def names_in(file: str) -> set[str]:
    parsed = ast.parse((TESTS / file).read_text())
    return {node.name for node in parsed.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", CASES)
def test_every_case_names_tests_that_exist(number: int) -> None:
    assert CASES[number].tests
    for test in CASES[number].tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in names_in(file), test
