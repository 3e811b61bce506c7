"""A real Caddy before a server: TLS by a private authority, a token, a password, a header, a path of its own.

    with start_chroma() as chroma, start_caddy(chroma.http_url, token="secret") as caddy:
        caddy.http_url, caddy.ca_file, caddy.headers       # where it is, whom to trust, what it wants to see

Servers without authentication of their own (Chroma 1.x) are used behind such a proxy, so they are tested behind one.
Caddy's makers publish a Go module, which is built once (see `go_binary`); `VECFERRY_TEST_CADDY_BINARY` names another.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from vecferry.testing import certificate
from vecferry.testing.go_binary import GoProgram
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.process import HttpServer, room_for, running

CADDY = GoProgram(
    name="caddy",
    module="github.com/caddyserver/caddy/v2/cmd/caddy",
    version="v2.10.2",
    variable="VECFERRY_TEST_CADDY_BINARY",
)
_ANSWERS = range(200, 600)
"""Caddy itself is up when it answers anything: what it answers depends on the credentials, and on who stands behind."""
_SITE = """\
{{
	admin off
	auto_https off
	persist_config off
	default_bind {host}
	servers {{
		protocols h1 h2
	}}
}}
{address} {{
	{tls}
	route {{
{gates}
		handle_path {path}/* {{
			reverse_proxy {upstream}
		}}
		respond "<html><body>Nothing here</body></html>" 404
	}}
}}
"""


@dataclass(kw_only=True)
class CaddyServer(HttpServer):
    """A Caddy before another server; `http_url` is its address, path included.

    Attributes:
        headers: what a request must carry to come through.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@contextmanager
def start_caddy(
    upstream: str,
    *,
    tls: bool = True,
    token: str | None = None,
    basic: tuple[str, str] | None = None,
    header: tuple[str, str] | None = None,
    path: str = "",
) -> Iterator[CaddyServer]:
    """Run a Caddy before `upstream` (`http://HOST:PORT`); what is wrong or missing is refused with 401 or 403.

    Args:
        upstream: the server behind it.
        tls: whether it speaks TLS, signed by the authority in `ca_file`.
        token: wanted as `Authorization: Bearer` or as `X-Chroma-Token`.
        basic: user and password, wanted by basic authentication.
        header: name and value of a header that must be there besides (403 otherwise).
        path: `/below/this`, if the server behind is not to stand at the root; everything else is an HTML page.

    Raises:
        Unavailable, ConfigError: Caddy cannot be had (see `go_binary`), or does not start.
    """
    program = CADDY.path()
    with room_for("caddy", None) as room:
        issued = certificate.issue(room) if tls else None
        gates = _gates(program, token, basic, header)

        def build() -> CaddyServer:
            (port,) = free_ports(1)
            address = f"{'https' if tls else 'http'}://{HOST}:{port}"
            caddyfile = room / "Caddyfile"
            caddyfile.write_text(_site(address, upstream, path, issued, gates))
            server = _server(program, room, port, caddyfile, {})
            return replace(
                server,
                http_url=address + path,
                ca_file=issued.ca if issued else None,
                api_key=token,
                headers=_headers(token, basic, header),
            )

        yield from running(build)


def _site(address: str, upstream: str, path: str, issued: certificate.Certificate | None, gates: list[str]) -> str:
    return _SITE.format(
        host=HOST,
        address=address,
        tls=f"tls {issued.chain} {issued.key}" if issued else "",
        gates="\n".join(f"\t\t{line}" for line in gates),
        path=path,
        upstream=upstream,
    )


@contextmanager
def start_caddyfile(caddyfile: Path, *, settings: Mapping[str, str], site: str) -> Iterator[CaddyServer]:
    """Run a Caddy with somebody's own `caddyfile`, as a recipe has it.

    Args:
        caddyfile: the configuration; `{$NAME}` in it is filled from `settings`.
        settings: environment variables for it.
        site: the variable that takes the address to serve, which is ours to choose: `https://127.0.0.1:PORT`.
            The site has to use `tls internal`: `ca_file` is the authority that Caddy makes for itself.

    Raises:
        Unavailable, ConfigError: Caddy cannot be had (see `go_binary`), or does not start.
    """
    program = CADDY.path()
    with room_for("caddy", None) as room:

        def build() -> CaddyServer:
            (port,) = free_ports(1)
            return _server(program, room, port, caddyfile.resolve(), {**settings, site: f"https://{HOST}:{port}"})

        yield from running(build)


def _server(program: Path, room: Path, port: int, caddyfile: Path, environment: Mapping[str, str]) -> CaddyServer:
    """A Caddy on `port`; everything that it keeps stands in `room`, not in the user's home."""
    return CaddyServer(
        name="Caddy",
        http_url=f"https://{HOST}:{port}",
        ports=(port,),
        folder=room,
        ca_file=room / "caddy" / "pki" / "authorities" / "local" / "root.crt",
        command=[str(program), "run", "--adapter", "caddyfile", "--config", str(caddyfile)],
        environment={"XDG_DATA_HOME": str(room), "XDG_CONFIG_HOME": str(room), "HOME": str(room), **environment},
        ready_statuses=_ANSWERS,
    )


def _gates(
    program: Path, token: str | None, basic: tuple[str, str] | None, header: tuple[str, str] | None
) -> list[str]:
    """The lines of the Caddyfile that turn requests away."""
    lines = []
    if token is not None:
        lines += [
            "@closed {",
            f'\tnot header Authorization "Bearer {token}"',
            f'\tnot header X-Chroma-Token "{token}"',
            "}",
            'respond @closed `{"error":"Unauthorized"}` 401',
        ]
    if basic is not None:
        user, password = basic
        # the lowest cost: a test waits for every check
        command = [str(program), "hash-password", "--plaintext", password, "--bcrypt-cost", "4"]
        hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        lines += ["basic_auth {", f"\t{user} {hashed}", "}"]
    if header is not None:
        name, value = header
        lines += [f'@stranger not header {name} "{value}"', "respond @stranger 403"]
    return lines


def _headers(token: str | None, basic: tuple[str, str] | None, header: tuple[str, str] | None) -> dict[str, str]:
    found = {}
    if token is not None:
        found["X-Chroma-Token"] = token  # leaves Authorization to a password
    if basic is not None:
        found["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    if header is not None:
        found[header[0]] = header[1]
    return found
