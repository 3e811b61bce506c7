"""Ids: the rule that turns any id into a u64 or a UUID is stable, injective, and standard."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.errors import ConfigError
from vecferry.ids import IdMapper, is_canonical_uuid, is_u64, kind_of
from vecferry.model import IdKind, IdRule
from vecferry.testing import strategies as vst

MAPPER = IdMapper(IdRule())
any_id = vst.ids(IdKind.MIXED).map(lambda pair: (pair[1], pair[0].encode()))


@given(any_id)
def test_every_target_id_can_be_held(pair):
    """A target id is the digits of a u64 or a canonical UUID; an id that is one already stays as it is."""
    target, rewritten = MAPPER.map(*pair)
    assert is_u64(target) or is_canonical_uuid(target)
    assert rewritten == (target != pair[1])


@given(any_id, any_id)
def test_different_ids_stay_different(left, right):
    """Two ids fall together only if they were one: the same text, a UUID as text or as a UUID."""

    def one(pair):
        return kind_of(*pair), pair[1]

    assert (MAPPER.map(*left)[0] == MAPPER.map(*right)[0]) == (one(left) == one(right))


@given(any_id, vst.text)
def test_the_rule_is_uuid5_of_the_standard_library(pair, tenant):
    """Anybody can compute it without us."""
    rule = IdRule(verbatim=())
    kind, text = pair
    wanted = uuid5(UUID(rule.namespace), f"{kind}\x1f{tenant}\x1f{text.decode()}")
    assert IdMapper(rule, tenant=tenant).map(kind, text) == (str(wanted).encode(), True)


@given(st.lists(vst.ids(IdKind.TEXT)))
def test_many_are_mapped_as_one_by_one(pairs):
    """`map_all` is `map`."""
    texts = [text.encode() for text, _ in pairs]
    assert MAPPER.map_all(IdKind.TEXT, texts) == [MAPPER.map(IdKind.TEXT, text) for text in texts]


@given(vst.text, vst.text, st.text(min_size=1))
def test_tenants_do_not_meet(left, right, text):
    """The same id of two tenants is two ids in the target."""
    mapped = [IdMapper(IdRule(), tenant=tenant).map(IdKind.TEXT, text.encode())[0] for tenant in (left, right)]
    assert (mapped[0] == mapped[1]) == (left == right or is_canonical_uuid(text.encode()))


@given(st.text())
def test_integers_have_one_spelling(text):
    """`is_u64` accepts exactly what `str(int)` writes."""
    canonical = text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 2**64
    assert is_u64(text.encode()) == canonical


@pytest.mark.parametrize("text", ["0", "18446744073709551615", "18446744073709551616", "00", "-1", "+1", "1 ", "١", ""])
def test_integers_at_the_edge(text):
    """The largest u64, one more, and spellings that `int` would take."""
    assert is_u64(text.encode()) == (text in {"0", "18446744073709551615"})


def test_a_uuid_that_is_not_in_canonical_form_is_rewritten():
    """Qdrant would fold its case, and the id that comes back would be another one."""
    upper = b"0000ABCD-0000-4000-8000-000000000001"
    for kind in (IdKind.UUID, IdKind.TEXT):
        target, rewritten = MAPPER.map(kind, upper)
        assert rewritten
        assert is_canonical_uuid(target)


def test_the_known_answer():
    """The rule is part of every collection we ever wrote: it can never change."""
    assert MAPPER.map(IdKind.TEXT, b"doc-1") == (b"9add994d-a06b-58b8-8b68-00d22cfa2ec6", True)


@pytest.mark.parametrize("template", ["{kind}", "{id}{id}", "{nothing}{id}", "{id", "{0}{id}"])
def test_a_template_that_cannot_tell_ids_apart_is_refused(template):
    """A rule comes from a plan file that people edit."""
    with pytest.raises(ConfigError):
        IdMapper(IdRule(template=template))


def test_a_namespace_must_be_a_uuid():
    """The message names what is wrong."""
    with pytest.raises(ConfigError, match="namespace"):
        IdMapper(IdRule(namespace="mine"))
