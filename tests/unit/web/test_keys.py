"""Keys go into headers and never into messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.errors import ConfigError
from vecferry.secret import Secret
from vecferry.web.keys import Keys, header_value

KEY = 'ck-5a/9d"0c'


@pytest.mark.parametrize("written", [KEY, json.dumps(KEY), json.dumps(KEY).replace("/", "\\/")])
def test_a_key_is_taken_out_however_json_writes_it(written: str) -> None:
    said = Keys("another-key", KEY).out_of(f'{{"message": "no such key: {written}; ask for one"}}')
    assert "5a" not in said
    assert "no such key: " in said
    assert "; ask for one" in said


@given(shorter=st.text("ab", min_size=5, max_size=9), more=st.text("ab", min_size=1, max_size=4))
def test_of_a_key_within_a_key_nothing_is_left(shorter: str, more: str) -> None:
    assert Keys(shorter, shorter + more).out_of(f"<{shorter + more}>") == "<***>"


def test_what_is_too_short_for_a_key_stays() -> None:
    assert Keys("", "no").out_of("no such collection") == "no such collection"


def test_keys_do_not_show() -> None:
    assert KEY not in f"{Keys(KEY)!r} {Keys(KEY)}"


@pytest.mark.parametrize("text", ["schlüssel-1", "two\nlines", "a\x00b"])
def test_what_no_header_can_carry_is_refused_and_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "reveal", lambda _: text)  # no environment holds NUL
    with pytest.raises(ConfigError, match=r"^The token holds") as caught:
        header_value(Secret("env:K"), "The token")
    assert text not in str(caught.value)
    assert caught.value.hint


def test_a_header_gets_the_secret_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", f" {KEY}\n")
    assert header_value(Secret("env:K"), "The token") == KEY
