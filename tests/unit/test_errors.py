"""The error tree: each class is drawn, keeps its facts across processes, and says what to do."""

from __future__ import annotations

import ast
import inspect
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from vecferry import errors
from vecferry.errors import CorruptData, Throttled, Unavailable, Unsupported, VecferryError
from vecferry.protocols import Countable, require

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, VecferryError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_travel_between_processes(kind: type[VecferryError]) -> None:
    """Pickled and back: class, message, hint, facts and own attributes."""
    extra = {"store": "memory:x"} if issubclass(kind, errors.ConnectorError) else {}
    extra |= {"ids": ("a", "b")} if issubclass(kind, errors.DataError) else {}  # type: ignore[dict-item]
    extra |= {"retry_after": 1.5} if kind is Throttled else {}  # type: ignore[dict-item]
    error = kind("It broke.", hint="Mend it.", rows=3, **extra)  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.__dict__ == error.__dict__
    assert (str(again), again.args) == ("It broke.\n  -> Mend it.", ("It broke.",))


@pytest.mark.parametrize("kind", CLASSES)
def test_the_tree_is_drawn(kind: type[VecferryError]) -> None:
    """The module's first lines show every class."""
    assert kind.__name__ in (errors.__doc__ or "")


def test_only_these_are_worth_trying_again() -> None:
    """The engine retries by class alone."""
    assert {kind for kind in CLASSES if kind.retryable} == {Unavailable, Throttled}


def test_a_missing_power_says_what_would_have_it() -> None:
    """`require` names the thing and passes on the advice."""
    with pytest.raises(Unsupported) as caught:
        require(object(), Countable, operation="count", instead="Use a store that counts.")
    assert (caught.value.message, caught.value.hint) == ("object cannot count.", "Use a store that counts.")


def test_ids_are_a_tuple() -> None:
    """Whatever sequence was given."""
    assert CorruptData("x", ids=["a"]).ids == ("a",)


# --------------------------------------------------------------------------- every error says what to do

SOURCES = Path(errors.__file__).parent
WITHOUT_A_HINT = {
    "cli/common.py": "you did not agree",  # a person said no: that is what to do
}
"""file -> words of a message that needs no advice, each with its reason."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of vecferry, by its path."""
    return {
        str(path.relative_to(SOURCES)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCES.rglob("*.py"))
    }


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def kinds_of_errors() -> set[str]:
    """The names of all our error classes: those of the tree, and those that other modules derive from it."""
    kinds = {kind.__name__ for kind in CLASSES}
    derived = [node for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while fresh := {one.name for one in derived if kinds & set(map(name_of, one.bases))} - kinds:
        kinds |= fresh
    return kinds


def errors_made() -> Iterator[tuple[str, ast.Call]]:
    """(file, call) of every place that makes one of our errors."""
    kinds = kinds_of_errors()
    for file, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_of(node.func) in kinds:
                yield file, node


def has_hint(call: ast.Call) -> bool:
    said = [keyword.value for keyword in call.keywords if keyword.arg == "hint"]
    return bool(said) and not (isinstance(said[0], ast.Constant) and not said[0].value)


def test_every_error_says_what_to_do() -> None:
    """A hint wherever one is made; where nothing can be advised, that is registered above, and still true."""
    silent = {(file, ast.unparse(call)): call.lineno for file, call in errors_made() if not has_hint(call)}
    excused = {one for one in silent if one[0] in WITHOUT_A_HINT and WITHOUT_A_HINT[one[0]] in one[1]}
    assert [f"{file}:{silent[file, text]}: {text}" for file, text in silent.keys() - excused] == []
    assert {file for file, _ in excused} == WITHOUT_A_HINT.keys()


def test_the_search_for_errors_finds_them() -> None:
    """It knows the derived ones too, and sees the hundreds that there are."""
    assert {"PortTaken", "TooLarge", "Refused"} <= kinds_of_errors()
    assert len(list(errors_made())) > 150
