"""Store URLs: one grammar, a text form that parses back, and never a secret in anything that is printed."""

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.errors import ConfigError
from vecferry.secret import Secret, default_secret
from vecferry.url import StoreUrl

CANARY = "c4n4ry-s3cr3t"


@pytest.mark.parametrize(
    "text, scheme, transport, host, port, path, options",
    [
        ("memory:docs", "memory", None, None, None, "docs", {}),
        ("chroma:./chroma_db", "chroma", None, None, None, "./chroma_db", {}),
        ("files:/var/backups/a b?chunk=1", "files", None, None, None, "/var/backups/a b", {"chunk": "1"}),
        ("qdrant+http://localhost:6333", "qdrant", "http", "localhost", 6333, "", {}),
        ("qdrant+https://h/prefix/?grpc_port=6334", "qdrant", "https", "h", None, "/prefix/", {"grpc_port": "6334"}),
        ("QDRANT+HTTP://[::1]:6333", "qdrant", "http", "::1", 6333, "", {}),
        ("chroma+cloud://tenant/database", "chroma", "cloud", "tenant", None, "/database", {}),
    ],
)
def test_the_grammar(text, scheme, transport, host, port, path, options):
    """Local and server forms, with their options."""
    url = StoreUrl.parse(text)
    assert (url.scheme, url.transport, url.host, url.port, url.path) == (scheme, transport, host, port, path)
    assert url.options == options
    assert StoreUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docs",
        ":x",
        "C:\\data",
        "memory:",
        "./a:b",
        "qdrant+http://",
        "qdrant+http://h:x",
        "qdrant+http://[::1",
        "qdrant+localhost:6333",
        "qdrant+http:localhost:6333",
    ],
)
def test_what_is_no_store_url_is_refused_with_advice(text):
    """The hint shows the right form."""
    with pytest.raises(ConfigError) as caught:
        StoreUrl.parse(text)
    assert (
        "SCHEME" in (caught.value.hint or "")
        or "+http" in (caught.value.hint or "")
        or "./data" in (caught.value.hint or "")
    )


values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="?"), min_size=1, max_size=20),
    st.dictionaries(words, values, max_size=3),
)
def test_a_local_url_survives_its_text_form(path, options):
    """Any path without a question mark, any option value."""
    options = {
        name: value for name, value in options.items() if name not in {"token", "key", "auth", "pwd", "pass", "secret"}
    }
    url = StoreUrl(scheme="files", path=path, options=options)
    if not path.startswith("//"):
        assert StoreUrl.parse(str(url)) == url


@given(
    st.integers(1, 65535),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=10),
    values,
)
def test_a_server_url_survives_its_text_form(port, path, value):
    """Any path and any option value, percent signs and question marks too."""
    url = StoreUrl(scheme="qdrant", transport="https", host="h", port=port, path=f"/x{path}", options={"a": value})
    assert StoreUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        f"qdrant+http:user:{CANARY}@h",
        f"qdrant+http://user:{CANARY}@localhost:6333",
        f"qdrant+http://{CANARY}@localhost",
        f"qdrant+http://user:pa?{CANARY}@localhost",
        f"qdrant+http://user:{CANARY}?x@localhost",
        f"qdrant+http://user:{CANARY}/x@localhost:1",
        f"qdrant+http://localhost:{CANARY}@x",
        f"qdrant+http://localhost?api_key={CANARY}",
        f"qdrant+http://localhost?token={CANARY}@x",
        f"qdrant+http://localhost?apikey={CANARY}",
        f"qdrant+http://localhost?API-Key={CANARY}",
        f"chroma:./x?password={CANARY}",
        f"qdrant+http://?api_key={CANARY}",
        f"nonsense?api_key={CANARY}",
        f"postgresql://user:{CANARY}@localhost/db",
        f"postgres://user:{CANARY}@localhost/db",
        f"mariadb://user:{CANARY}@localhost/db",
        f"postgresql://:{CANARY}@localhost/db",
        f"postgresql://user:1/{CANARY}@localhost/db",
        f"postgresql://user:1?{CANARY}@localhost/db",
        f"postgresql://user:1#{CANARY}@localhost/db",
        f"postgresql://localhost/db?password={CANARY}",
        f"postgresql://localhost/db?pwd={CANARY}",
    ],
)
def test_a_secret_in_a_url_is_refused_and_never_repeated(text):
    """Not in the message, the hint, the facts, nor in the traceback that a log would keep."""
    with pytest.raises(ConfigError) as caught:
        StoreUrl.parse(text)
    error = caught.value
    said = f"{error} {error.hint} {error.facts} {error!r} {''.join(traceback.format_exception_only(error))}"
    while error is not None:
        said += f"{error} {error!r}"
        error = error.__cause__
    assert CANARY not in said


def test_references_are_kept_and_shown_as_references(tmp_path, monkeypatch):
    """`env:` and `file:` are read late; the text form has the reference, everything else prints `***`."""
    monkeypatch.setenv("VECFERRY_TEST_KEY", f" {CANARY}\n")
    (tmp_path / "key").write_text(f"{CANARY}\n")
    for reference in ("env:VECFERRY_TEST_KEY", f"file:{tmp_path}/key"):
        url = StoreUrl.parse(f"qdrant+http://localhost?api_key={reference}")
        secret = url.secret("api_key")
        assert secret is not None
        assert secret.reveal() == CANARY
        assert (str(secret), repr(secret), f"{secret}") == ("***", "***", "***")
        assert CANARY not in repr(url) + str(url) + repr(pickle.dumps(url))
        assert StoreUrl.parse(str(url)) == url
    assert url.secret("token") is None


@pytest.mark.parametrize("reference", ["env:VECFERRY_NOT_SET", "file:/does/not/exist", CANARY, f"plain:{CANARY}"])
def test_a_secret_that_cannot_be_read_is_named_not_shown(reference):
    """The message names the variable or the file, never a value."""
    with pytest.raises(ConfigError) as caught:
        Secret(reference).reveal()
    assert CANARY not in f"{caught.value} {caught.value!r}"


def test_the_usual_variables_are_the_default(monkeypatch):
    """The first that is set and not blank."""
    monkeypatch.setenv("VECFERRY_TEST_A", "  ")
    monkeypatch.setenv("VECFERRY_TEST_B", "value")
    assert default_secret("VECFERRY_TEST_A", "VECFERRY_TEST_B") == Secret("env:VECFERRY_TEST_B")
    assert default_secret("VECFERRY_TEST_A") is None


@pytest.mark.parametrize("text", ["postgresql://app@h:5432/shop", "postgres://h:5432/shop?user=app"])
def test_a_sql_server_is_told_the_user_in_either_place(text):
    """A user name is no secret; `postgres` is another name of the scheme."""
    url = StoreUrl.parse(text)
    assert (url.scheme, url.host, url.port, url.path) == ("postgresql", "h", 5432, "/shop")
    assert url.options == {"user": "app"}
    assert StoreUrl.parse(str(url)) == url


def test_a_sql_server_behind_a_socket_has_no_host():
    """The socket's directory is an option, as the vendors' own clients have it."""
    url = StoreUrl.parse("postgresql:///shop?host=/run/postgresql&user=a%40b")
    assert (url.host, url.options) == ("", {"host": "/run/postgresql", "user": "a@b"})
    assert StoreUrl.parse(str(url)) == url


@pytest.mark.parametrize("text", ["postgresql:///shop", "mariadb:///shop", "postgresql://a@h/shop?user=b"])
def test_a_sql_url_without_host_or_with_two_users_is_refused(text):
    """The hint says how to write it."""
    with pytest.raises(ConfigError) as caught:
        StoreUrl.parse(text)
    assert "user=NAME" in (caught.value.hint or "")
