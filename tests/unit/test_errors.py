"""The error tree: each class is drawn, keeps its facts across processes, and says what to do."""

import inspect
import pickle

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
