"""What each cell of a plan says to a person: one sentence per shape and verdict. Pure, and all in one place."""

from __future__ import annotations

from vecferry.limits import Limits, Shape
from vecferry.model import VectorSpec
from vecferry.planning.model import Verdict

_KEPT = "Kept as it is."
EMPTY = "The collection is empty and nobody knows its dimension; it is made without records."

_RESTORED: dict[Shape, str] = {
    Shape.ID_TEXT: "{store} takes no such id: a UUID is computed from it, and the original is kept beside the record.",
    Shape.ID_INT: "The integer is written as decimal text, and the collection's card says that it was an integer.",
    Shape.COSINE_LENGTH: (
        "{store} scales cosine vectors to length 1. The length is kept beside the vector and restores it to within "
        "1 unit in the last place of each component."
    ),
    Shape.NULL_VALUE: "{store} drops null values: the keys that held null are kept beside the record.",
    Shape.NESTED_OBJECT: "{store} has no nested metadata: the object is kept as JSON text, which filters cannot see.",
    Shape.EMPTY_LIST: "{store} has no empty list: it is kept as JSON text beside the record.",
    Shape.MIXED_LIST: "{store} has no list of mixed types: it is kept as JSON text, which filters do not see into.",
    Shape.LIST: "{store} has no list: it is kept as JSON text, which filters do not see into.",
    Shape.UINT64: "{store} has no integer past 2**63 - 1: it is kept as text with its type.",
    Shape.BIG_INT: "{store} has no integer past 64 bits: it is kept as text with its type.",
    Shape.NEGATIVE_ZERO: "{store} turns -0.0 into 0.0: the sign is kept beside the record.",
    Shape.TAGGED: "{store} has no such type (datetime, bytes, decimal, NaN): it is kept as text with its type.",
    Shape.RESERVED_KEY: "{store} needs this key for itself: it is renamed, and the name is kept beside the record.",
    Shape.EMPTY_KEY: "{store} has no empty key: it is renamed, and the name is kept beside the record.",
    Shape.MANY_KEYS: (
        "{store} takes at most {metadata_keys:,} keys a record: those past it are kept as JSON text, which filters "
        "cannot see."
    ),
    Shape.LONG_LISTS: (
        "{store} takes at most {list_elements:,} list elements a record: lists past it are kept as JSON text, which "
        "filters cannot see."
    ),
    Shape.LONG_KEY: (
        "{store} takes keys of at most {key_bytes} bytes: these are kept as JSON text, which filters cannot see."
    ),
    Shape.EMPTY_METADATA: "{store} has no empty metadata object: that it was empty is kept beside the record.",
    Shape.NO_VECTOR: "{store} needs a vector: a placeholder is written, and that there was none is kept beside it.",
    Shape.URI: "{store} has no uri: it is kept beside the record.",
    Shape.NUL_IN_TEXT: "{store} has no U+0000: it is escaped, and that is kept beside the record.",
    Shape.ORDER: "{store} returns records in an order of its own: the source's order is kept as a number beside each.",
}
_LOST: dict[Shape, str] = {
    Shape.COSINE_LENGTH: "{store} scales cosine vectors to length 1, and the length is lost.",
    Shape.NULL_VALUE: "{store} drops null values; converted, the key is missing afterwards.",
    Shape.NESTED_OBJECT: "{store} has no nested metadata; converted, it becomes text.",
    Shape.EMPTY_LIST: "{store} has no empty list; converted, the key is missing afterwards.",
    Shape.MIXED_LIST: "{store} has no list of mixed types; converted, it becomes text.",
    Shape.LIST: "{store} has no list; converted, it becomes text.",
    Shape.UINT64: "{store} has no integer past 2**63 - 1; converted, it is rounded to a float.",
    Shape.BIG_INT: "{store} has no integer past 64 bits; converted, it becomes text.",
    Shape.NEGATIVE_ZERO: "{store} turns -0.0 into 0.0.",
    Shape.TAGGED: "{store} has no such type (datetime, bytes, decimal, NaN); converted, it becomes text.",
    Shape.RESERVED_KEY: "{store} needs this key for itself; converted, the value is left out.",
    Shape.EMPTY_KEY: "{store} has no empty key; converted, the value is left out.",
    Shape.EMPTY_METADATA: "{store} has no empty metadata object; afterwards there is no metadata.",
    Shape.URI: "{store} has no uri; converted, it is left out.",
    Shape.NUL_IN_TEXT: "{store} has no U+0000; converted, it is left out.",
    Shape.ORDER: "{store} returns records in an order of its own, and the source's order is lost.",
    Shape.ID_TEXT: "{store} takes no such id, and the original id is lost.",
    Shape.ID_INT: "{store} takes no integer id; converted, it becomes text.",
}
_REFUSED: dict[Shape, str] = {
    Shape.NO_VECTOR: "{store} needs a vector on every record; these would be left out and listed.",
    Shape.NON_FINITE_VECTOR: "{store} takes no vector with NaN or infinity; these would be left out and listed.",
    Shape.ZERO_VECTOR: "{store} takes no vector of zeros; these would be left out and listed.",
    Shape.ID_TOO_LONG: "{store} takes ids of at most {id_bytes} bytes; these would be left out and listed.",
    Shape.MANY_KEYS: "{store} takes at most {metadata_keys:,} keys a record; these would be left out and listed.",
    Shape.LONG_LISTS: (
        "{store} takes at most {list_elements:,} list elements a record; these would be left out and listed."
    ),
    Shape.LONG_KEY: "{store} takes keys of at most {key_bytes} bytes; these records would be left out and listed.",
    Shape.LONG_VALUE: (
        "{store} takes metadata values of at most {value_bytes:,} bytes; these records would be left out and listed."
    ),
    Shape.LONG_URI: "{store} takes uris of at most {uri_bytes:,} bytes; these records would be left out and listed.",
    Shape.TOO_LARGE: "{store} takes no record or document of this size; these would be left out and listed.",
}


def meaning(shape: Shape, verdict: Verdict, limits: Limits) -> str:
    """One sentence: what happens to these records."""
    if verdict is Verdict.EXACT:
        return _KEPT
    table = {Verdict.RESTORABLE: _RESTORED, Verdict.LOSSY: _LOST, Verdict.IMPOSSIBLE: _REFUSED}[verdict]
    text = table.get(shape, "{store} cannot hold this as it is.")
    if shape is Shape.COSINE_LENGTH and limits.keeps_bits:
        text += " Choose exact_vectors: keep for every bit."
    return text.format(
        store=_title(limits.store),
        id_bytes=limits.id_bytes,
        metadata_keys=limits.metadata_keys or 0,
        list_elements=limits.list_elements or 0,
        key_bytes=limits.key_bytes,
        value_bytes=limits.value_bytes or 0,
        uri_bytes=limits.uri_bytes or 0,
    )


def useless(shape: Shape, verdict: Verdict, limits: Limits) -> str:
    """One sentence more, of records that are moved as they are though no search finds them."""
    return (
        f"{meaning(shape, verdict, limits)} No search finds such a record: leave it out with --accept "
        f"{shape}=quarantine, or make its vector anew with re_embed: {{missing: true, …}}."
    )


def too_many(limits: Limits) -> str:
    """A collection of more records than the target takes in one."""
    return f"{_title(limits.store)} takes at most {limits.records:,} records in a collection."


def no_place(vector: VectorSpec, limits: Limits) -> str:
    """A vector that the target has no room for."""
    return f"{_title(limits.store)} has no place for {_named(vector)} ({vector.kind}); converted, it is left out."


def too_wide(vector: VectorSpec, limits: Limits) -> str:
    """A vector with more components than the target takes."""
    return f"{_title(limits.store)} takes at most {limits.max_dim} dimensions, and {_named(vector)} has {vector.dim}."


def reshaped(vector: VectorSpec, target: VectorSpec) -> str:
    """A vector that changes its number type or its name."""
    changes = []
    if vector.element is not target.element:
        changes.append(f"{vector.element} is widened to {target.element}, which holds every value of it")
    if vector.name != target.name:
        changes.append(f"{_named(vector)} becomes the collection's only vector")
    return f"{' and '.join(changes).capitalize()}; the card says what it was."


def narrowed(vector: VectorSpec, target: VectorSpec, *, before: bool) -> str:
    """A vector whose numbers are rounded to a narrower type."""
    if before:
        return f"{target.element} again, as before: numbers that came since are rounded to it."
    named = _named(vector)
    return f"{named[:1].upper()}{named[1:]} is rounded from {vector.element} to {target.element}: the rest is gone."


def no_metric(vector: VectorSpec, target: VectorSpec, limits: Limits) -> str:
    """A metric that the target does not have."""
    text = f"{_title(limits.store)} cannot search by {vector.metric}"
    return f"{text}; converted, it searches by {target.metric}." if target.metric is not vector.metric else f"{text}."


def _named(vector: VectorSpec) -> str:
    return f"the vector '{vector.name}'" if vector.name else "the vector"


def _title(store: str) -> str:
    return store[:1].upper() + store[1:]
