"""The ways into a Chroma server: tokens, passwords, headers, TLS, proxies; and what is said where a door stays shut."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vecferry.doctor import State, examine
from vecferry.errors import AuthFailed, ConfigError, Unavailable, VecferryError
from vecferry.registry import open_database
from vecferry.testing.caddy import CaddyServer, start_caddy
from vecferry.testing.certificate import issue
from vecferry.testing.old_chroma import start_old_chroma
from vecferry.testing.ports import free_ports
from vecferry.testing.servers import ChromaServer, chroma_program, start_chroma
from vecferry.testing.skips import reason

if chroma_program() is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

pytestmark = pytest.mark.chroma_server
TOKEN = "sesame-7f3a"


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaServer]:
    with start_chroma() as server:
        yield server


@pytest.fixture(scope="module")
def guarded(server: ChromaServer) -> Iterator[CaddyServer]:
    with start_caddy(server.http_url, token=TOKEN, path="/chroma") as caddy:
        yield caddy


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHT", TOKEN)
    monkeypatch.setenv("WRONG", "open-wheat")


def url(caddy: CaddyServer, *options: str) -> str:
    trusted = [f"ca_file={caddy.ca_file}"] if caddy.ca_file else []
    return f"chroma+{caddy.http_url}?{'&'.join([*trusted, *options])}"


def refused(text: str) -> VecferryError:
    with pytest.raises(VecferryError) as caught:
        open_database(text)
    assert caught.value.hint
    assert TOKEN not in str(caught.value)
    assert "open-wheat" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("form", ["token_header=Authorization", "token_header=X-Chroma-Token", ""])
def test_a_token_in_both_header_forms(guarded: CaddyServer, form: str) -> None:
    """Behind TLS by a private authority and a path of its own; the doctor sees that the key is asked for."""
    address = url(guarded, "token=env:RIGHT", *([form] if form else []))
    open_database(address).close()
    _, found = examine([address])
    assert found.healthy
    assert any(step.name == "authentication" and "asked for and accepted" in step.detail for step in found.steps)


def test_tokens_from_the_environment(guarded: CaddyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of Chroma's own clients."""
    monkeypatch.setenv("CHROMA_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("CHROMA_AUTH_TOKEN_TRANSPORT_HEADER", "X-Chroma-Token")
    open_database(url(guarded)).close()


@pytest.mark.parametrize("options", [("token=env:WRONG",), ()])
def test_a_wrong_token_and_none(guarded: CaddyServer, options: tuple[str, ...]) -> None:
    assert isinstance(refused(url(guarded, *options)), AuthFailed)


def test_a_password_and_a_header_that_the_proxy_wants(server: ChromaServer) -> None:
    """Basic authentication, and a header whose value is a reference."""
    with start_caddy(server.http_url, basic=("ann", TOKEN), header=("X-Proxy-Key", TOKEN), tls=False) as caddy:
        everything = ("user=ann", "password=env:RIGHT", "header.X-Proxy-Key=env:RIGHT")
        open_database(url(caddy, *everything)).close()
        assert isinstance(refused(url(caddy, "user=ann", "password=env:WRONG", everything[2])), AuthFailed)
        assert isinstance(refused(url(caddy, *everything[:2])), AuthFailed)


def test_secrets_never_stand_in_the_url(guarded: CaddyServer) -> None:
    """A header that sounds like a secret must be a reference, and the message does not repeat what stood there."""
    for option in (f"header.X-Api-Key={TOKEN}", f"token={TOKEN}", f"header.Authorization=Bearer {TOKEN}"):
        assert isinstance(refused(url(guarded, option)), ConfigError)
    plain = open_database(url(guarded, "token=env:RIGHT", "header.X-Team=search"))
    assert TOKEN not in repr(plain.identity)
    plain.close()


def test_an_authority_that_nobody_knows(guarded: CaddyServer, tmp_path: Path) -> None:
    """None is named, another one is, and the file is none."""
    for text in (f"chroma+{guarded.http_url}", f"chroma+{guarded.http_url}?ca_file={issue(tmp_path).ca}"):
        error = refused(text)
        assert isinstance(error, ConfigError)
        assert "ca_file" in (error.hint or "")
    assert "cannot be read" in refused(f"chroma+{guarded.http_url}?ca_file={tmp_path / 'none.pem'}").message


def test_tls_where_there_is_none_and_none_where_there_is(server: ChromaServer, guarded: CaddyServer) -> None:
    error = refused(f"chroma+https://127.0.0.1:{server.port}")
    assert isinstance(error, ConfigError)
    assert "TLS" in error.message
    error = refused(f"chroma+{guarded.http_url.replace('https', 'http')}")
    assert isinstance(error, ConfigError)


def test_a_web_page_is_not_chroma(guarded: CaddyServer) -> None:
    """The proxy's own page, where the path in the URL is wrong."""
    error = refused(url(guarded, "token=env:RIGHT").replace("/chroma?", "/elsewhere?"))
    assert isinstance(error, ConfigError)
    assert "not Chroma" in error.message
    assert "path" in (error.hint or "")


def test_nobody_there(tmp_path: Path) -> None:
    """A port where nothing listens, and a host that is not known."""
    (port,) = free_ports(1)
    error = refused(f"chroma+http://127.0.0.1:{port}")
    assert isinstance(error, Unavailable)
    assert "port" in (error.hint or "")
    assert isinstance(refused("chroma+http://no-such-host.invalid:8000"), Unavailable)


def test_a_server_behind_the_proxy_that_is_down(tmp_path: Path) -> None:
    """502 is an error that may be tried again."""
    (port,) = free_ports(1)
    with start_caddy(f"http://127.0.0.1:{port}", tls=False) as caddy:
        assert isinstance(refused(url(caddy)), Unavailable)


@pytest.mark.parametrize("header", ["Authorization", "X-Chroma-Token"])
def test_old_servers_with_a_token_of_their_own(header: str) -> None:
    """0.5 takes one form at a time; its heartbeat is open, and that is no proof."""
    with start_old_chroma("0.5.23", token=TOKEN, header=header) as server:
        open_database(f"{server.url}?token=env:RIGHT&token_header={header}").close()
        assert isinstance(refused(f"{server.url}?token=env:WRONG&token_header={header}"), AuthFailed)
        assert isinstance(refused(server.url), AuthFailed)


@pytest.mark.parametrize(
    "option",
    [
        "mode=fast",
        "timeout=never",
        "user=ann",
        "token_header=Cookie&token=env:RIGHT",
        "user=a&password=env:RIGHT&token=env:RIGHT",
    ],
)
def test_options_that_make_no_sense(server: ChromaServer, option: str) -> None:
    assert isinstance(refused(f"{server.url}?{option}"), ConfigError)


def test_the_doctor_writes_and_removes(server: ChromaServer) -> None:
    """A scratch collection goes through everything that a migration needs, and is gone afterwards."""
    _, found = examine([server.url], write=True)
    assert [step.name for step in found.steps if step.state is not State.OK] == []
    assert {"create", "upsert", "search", "filter", "delete", "quota"} <= {step.name for step in found.steps}
    database = open_database(server.url)
    assert list(database.collections()) == []
    database.close()
