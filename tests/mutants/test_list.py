"""The list of mutants fits the package and the tests as they are now; ``make mutants`` tries them."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from .mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]

each = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@cache
def names_of(file: str) -> frozenset[str]:
    """Give the tests of a file, as in ``TestOrder::test_a_chain``."""

    def walk(body: list[ast.stmt], above: str) -> set[str]:
        names = {f"{above}{node.name}" for node in body if isinstance(node, ast.FunctionDef)}
        for node in body:
            if isinstance(node, ast.ClassDef):
                names |= walk(node.body, f"{above}{node.name}::")
        return names

    return frozenset(walk(ast.parse((ROOT / file).read_text()).body, ""))


@each
def test_what_it_replaces_is_there_exactly_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1


@each
def test_what_it_makes_of_the_file_is_python(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    ast.parse(source.replace(mutant.old, mutant.new))


@each
def test_it_changes_something_and_names_where_the_rule_stands(mutant: Mutant) -> None:
    assert mutant.old != mutant.new
    assert "§" in mutant.rule


@each
def test_the_test_that_notices_is_there(mutant: Mutant) -> None:
    file, _, name = mutant.test.partition("::")
    assert name.partition("[")[0] in names_of(file)


def test_each_has_a_name_of_its_own() -> None:
    assert not [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1]
