"""New vectors: each text paid once, whatever fails; the right model for each record; errors that say what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.transforms import support
from tests.unit.transforms.support import chain, record, through
from vecferry.errors import AuthFailed, ConfigError, CorruptData, DataError, Throttled, Unavailable, VecferryError
from vecferry.model import CollectionSpec, Element, Metric, VectorKind, VectorSpec
from vecferry.testing.http_double import Refusal
from vecferry.testing.openai_double import DIM, OpenAiDouble, vector_of
from vecferry.transforms import Cache, Embedders, Model, ReEmbed, Step
from vecferry.transforms.embedder import PROBE, Embedder

LENGTHS = "tests.unit.transforms.support:lengths"


@pytest.fixture
def double() -> Iterator[OpenAiDouble]:
    with OpenAiDouble() as running:
        yield running


def model(double: OpenAiDouble, **options: Any) -> Model:
    return Model(url=double.url, model="small", **options)


def embedder(found: Model, folder: Path, *, paying: bool = True) -> Embedder:
    return Embedders(Cache(folder / "cache.sqlite"), paying=paying).of(found)


TEXTS = [f"text {n}" for n in range(25)]


def test_each_text_is_paid_once_in_batches(double: OpenAiDouble, tmp_path: Path) -> None:
    """Twice in one call, again in another, again in another process: one payment, and the same bits."""
    first = embedder(model(double, batch=4, concurrency=3), tmp_path)
    vectors = first.embed([*TEXTS, *TEXTS])
    assert np.array_equal(vectors[:25], np.stack([vector_of("small", text) for text in TEXTS]))
    assert np.array_equal(vectors[:25], vectors[25:])
    assert np.array_equal(embedder(model(double), tmp_path).embed(TEXTS[::-1]), vectors[24::-1])
    assert double.paid == dict.fromkeys([PROBE, *TEXTS], 1)
    assert double.requests == 1 + 7
    assert double.busiest <= 3


def test_another_model_or_dimension_is_another_vector(double: OpenAiDouble, tmp_path: Path) -> None:
    plain = embedder(model(double), tmp_path).embed(["a"])
    other = embedder(Model(url=double.url, model="large"), tmp_path).embed(["a"])
    short = embedder(model(double, dimensions=3), tmp_path).embed(["a"])
    assert not np.array_equal(plain, other)
    assert (plain.shape, short.shape) == ((1, DIM), (1, 3))


def test_a_prefix_and_a_cut_are_part_of_the_text(double: OpenAiDouble, tmp_path: Path) -> None:
    embedder(model(double, prefix="passage: ", max_chars=12), tmp_path).embed(["abcdef"])
    assert set(double.paid) == {PROBE, "passage: abc"}


def test_base64_answers_are_read(tmp_path: Path) -> None:
    with OpenAiDouble(base64_answers=True) as double:
        assert np.array_equal(embedder(model(double), tmp_path).embed(["a"])[0], vector_of("small", "a"))


def test_planning_pays_for_one_text(double: OpenAiDouble, tmp_path: Path) -> None:
    """Its vector stands for every other."""
    planning = embedder(model(double), tmp_path, paying=False)
    assert np.array_equal(planning.embed(TEXTS), np.tile(vector_of("small", PROBE), (25, 1)))
    assert dict(double.paid) == {PROBE: 1}


@pytest.mark.parametrize("wait,header", [(7.0, "7"), (None, None), (None, "soon")])
def test_too_many_requests_are_for_later(
    double: OpenAiDouble, tmp_path: Path, wait: float | None, header: str | None
) -> None:
    """What was answered before the refusal is kept: the next try pays for the rest alone."""
    asked = embedder(model(double, batch=5, concurrency=1), tmp_path)
    refusal = Refusal(429, {} if header is None else {"Retry-After": header})
    double.refuse = lambda number, _: refusal if number == 4 else None
    with pytest.raises(Throttled) as caught:
        asked.embed(TEXTS)
    assert (caught.value.retry_after, caught.value.retryable) == (wait, True)
    before = dict(double.paid)
    assert len(before) < 25
    asked.embed(TEXTS)
    assert double.paid == dict.fromkeys([PROBE, *TEXTS], 1)


def test_a_date_to_come_back_at(double: OpenAiDouble, tmp_path: Path) -> None:
    import time

    double.refuse = lambda *_: Refusal(429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)})
    with pytest.raises(Throttled) as caught:
        embedder(model(double), tmp_path)
    assert caught.value.retry_after == pytest.approx(60, abs=3)


@pytest.mark.parametrize(
    "refusal,kind",
    [
        (Refusal(503), Unavailable),
        (Refusal(529), Unavailable),
        (Refusal(403), AuthFailed),
        (Refusal(404), ConfigError),
        (Refusal(400), DataError),
        (Refusal(200, {}, b"<html>a login page</html>"), CorruptData),
        (Refusal(200, {}, b'{"data": []}'), CorruptData),
        (Refusal(302, {"Location": "http://elsewhere/"}), ConfigError),
    ],
)
def test_a_refusal_says_what_to_do(
    double: OpenAiDouble, tmp_path: Path, refusal: Refusal, kind: type[VecferryError]
) -> None:
    double.refuse = lambda *_: refusal
    with pytest.raises(kind) as caught:
        embedder(model(double), tmp_path)
    assert type(caught.value) is kind
    assert caught.value.hint


def test_nobody_there(tmp_path: Path) -> None:
    with OpenAiDouble() as gone:
        found = model(gone)
    with pytest.raises(Unavailable, match="cannot be asked"):
        embedder(found, tmp_path)


def test_a_wrong_key_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by us nor through the words of the interface."""
    with OpenAiDouble(key="right") as double:
        monkeypatch.setenv("MODEL_KEY", "sk-wrong")
        with pytest.raises(AuthFailed) as caught:
            embedder(model(double, api_key="env:MODEL_KEY"), tmp_path)
        assert "sk-" not in str(caught.value)
        monkeypatch.setenv("MODEL_KEY", "right")
        assert embedder(model(double, api_key="env:MODEL_KEY"), tmp_path).dim == DIM
        double.refuse = lambda *_: Refusal(503, {}, b'{"error": {"message": "right is asleep"}}')
        with pytest.raises(Unavailable, match=r"\*\*\* is asleep"):
            embedder(model(double, api_key="env:MODEL_KEY"), tmp_path).embed(["new"])


def test_the_one_text_that_is_refused_is_found(double: OpenAiDouble, tmp_path: Path) -> None:
    """A request is halved down to it; every other text of it is paid once, and kept."""
    asked = embedder(model(double, batch=8), tmp_path)
    with pytest.raises(DataError, match="maximum context length") as caught:
        asked.embed([*TEXTS[:7], "x" * 9000])
    assert "max_chars" in (caught.value.hint or "")
    assert set(double.paid) - {PROBE} == set(TEXTS[:7])
    assert max(double.paid.values()) == 1
    embedder(model(double, batch=8, max_chars=8000), tmp_path).embed([*TEXTS[:7], "x" * 9000])
    assert double.paid == dict.fromkeys([PROBE, *TEXTS[:7], "x" * 8000], 1)


def test_two_threads_with_the_same_texts_pay_once(double: OpenAiDouble, tmp_path: Path) -> None:
    asked = embedder(model(double, batch=2), tmp_path)
    threads = [threading.Thread(target=asked.embed, args=(TEXTS,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert double.paid == dict.fromkeys([PROBE, *TEXTS], 1)


def test_dimensions_that_are_not_given_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 dimensions where 5"):
        embedder(Model(call=LENGTHS, dimensions=5), tmp_path)


# --------------------------------------------------------------------------- models in this process


def test_a_function_of_one_s_own(tmp_path: Path) -> None:
    support.CALLS.clear()
    found = embedder(Model(call=LENGTHS), tmp_path).embed(["ab", "c"])
    assert found.tolist() == [[2.0, 195.0], [1.0, 99.0]]
    assert support.CALLS == [[PROBE], ["ab", "c"]]
    with pytest.raises(DataError, match="ValueError: a bad text"):
        embedder(Model(call=LENGTHS), tmp_path).embed(["ab", "bad"])


@pytest.mark.parametrize(
    "found,said",
    [
        (Model(call="no.such.module:f"), "cannot be imported"),
        (Model(call="tests.unit.transforms.support:nothing"), "cannot be imported"),
        (Model(call="builtins:len"), "array of shape"),
        (Model(local="unheard-of:x"), "names no local model"),
        (Model(local="model2vec"), "names no local model"),
    ],
)
def test_a_model_that_is_not_there(found: Model, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        embedder(found, tmp_path)
    assert caught.value.hint


# --------------------------------------------------------------------------- the transform


def test_the_vector_is_replaced_and_says_its_new_form(tmp_path: Path) -> None:
    """Everything else of the record stays; one without a document is set aside."""
    made = chain(Step(re_embed=ReEmbed(call=LENGTHS, metric=Metric.L2)), folder=tmp_path)
    assert made.spec.vectors == (VectorSpec(dim=2, metric=Metric.L2),)
    kept, aside = through(made, [record("a", {"k": 1}, "ab"), record("b", None, None), record("c", None, "")])
    assert [(one.id, one.uri, one.document, one.metadata) for one in kept] == [("a", "u:a", "ab", {"k": 1})]
    assert kept[0].vectors[""].tolist() == [2.0, 195.0]
    assert {one.id: one.reason for one in aside} == dict.fromkeys("bc", "It has no document to make a vector from.")
    assert through(made, []) == ([], [])


def test_one_of_several_vectors(tmp_path: Path) -> None:
    """The one that is named; the others keep their values, and an old number type is no concern of the new vector."""
    vectors = (
        VectorSpec(name="a", dim=3, metric=Metric.IP, element=Element.FLOAT16),
        VectorSpec(name="b", dim=3),
        VectorSpec(name="s", kind=VectorKind.SPARSE, metric=Metric.IP),
    )
    spec = CollectionSpec(name="docs", vectors=vectors)
    with pytest.raises(ConfigError, match="has the vectors a, b"):
        chain(Step(re_embed=ReEmbed(call=LENGTHS)), spec=spec, folder=tmp_path)
    made = chain(Step(re_embed=ReEmbed(call=LENGTHS, vector="a")), spec=spec, folder=tmp_path)
    assert made.spec.vectors == (VectorSpec(name="a", dim=2, metric=Metric.IP), *vectors[1:])
    given = record("x", None, "ab")
    given.vectors = {"a": None, "b": np.array([1, 2, 3], np.float32), "s": None}
    (kept,), _ = through(made, [given], spec)
    assert kept.vectors["a"].tolist() == [2.0, 195.0]
    assert kept.vectors["b"].tolist() == [1, 2, 3]


def test_the_model_is_chosen_by_a_key(double: OpenAiDouble, tmp_path: Path) -> None:
    """By the text of its value; `*` for all others; without it, records that no entry names are set aside."""
    de, en = Model(url=double.url, model="de"), Model(url=double.url, model="en")
    records = [
        record(str(n), {"lang": value} if value else None, f"t{n}") for n, value in enumerate(["de", "en", None, 7])
    ]
    kept, aside = through(
        chain(Step(re_embed=ReEmbed(by="lang", models={"de": de, "*": en})), folder=tmp_path), records
    )
    assert [
        np.array_equal(one.vectors[""], vector_of(name, f"t{one.id}"))
        for one, name in zip(kept, ("de", "en", "en", "en"), strict=True)
    ] == [True] * 4
    assert aside == []
    only = chain(Step(re_embed=ReEmbed(by="lang", models={"de": de, "7": en})), folder=tmp_path)
    kept, aside = through(only, records)
    assert [one.id for one in kept] == ["0", "3"]
    assert {one.reason for one in aside} == {"No model is named for its value of 'lang'."}


def test_only_what_has_no_vector_gets_one(tmp_path: Path) -> None:
    """Null or all zeros: made anew. Any other stays bit for bit, with or without a document."""
    spec = CollectionSpec(name="docs", vectors=(VectorSpec(dim=2),))
    made = chain(Step(re_embed=ReEmbed(call=LENGTHS, missing=True)), spec=spec, folder=tmp_path)
    given = {"kept": ([0, 1], None), "zero": ([0, 0], "ab"), "null": (None, "abc"), "lost": ([0, 0], None)}
    records = [record(name, None, text) for name, (_, text) in given.items()]
    for one, (vector, _) in zip(records, given.values(), strict=True):
        one.vectors = {"": None if vector is None else np.array(vector, np.float32)}
    kept, aside = through(made, records, spec)
    assert {one.id: one.vectors[""].tolist() for one in kept} == {
        "kept": [0, 1],
        "zero": [2.0, 195.0],
        "null": [3.0, 294.0],
    }
    assert [one.id for one in aside] == ["lost"]


def test_a_model_of_another_form_does_not_mix_with_what_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not mix") as caught:
        chain(Step(re_embed=ReEmbed(call=LENGTHS, missing=True)), folder=tmp_path)
    assert caught.value.hint


def test_models_of_one_collection_have_one_dimension(double: OpenAiDouble, tmp_path: Path) -> None:
    models = {"de": Model(url=double.url, model="m", dimensions=3), "*": Model(url=double.url, model="m")}
    with pytest.raises(ConfigError, match="3 and 8 dimensions"):
        chain(Step(re_embed=ReEmbed(by="lang", models=models)), folder=tmp_path)


def test_a_torn_cache_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match="embedding cache") as caught:
        embedder(Model(call=LENGTHS), tmp_path)
    assert "VECFERRY_EMBEDDINGS" in (caught.value.hint or "")
