"""The pytest plugin that comes with vecferry: fixtures for real servers, and a guard on skipped tests.

Fixtures, one per session: `qdrant_server`, `qdrant_with_key`, `qdrant_with_tls`, `chroma_server`, `caddy_chroma`,
`old_chroma_server` (one per version and token), `postgres_server`, `postgres_with_tls`, `mariadb_server`,
`mariadb_with_tls`. As many as a test likes, stopped with it: `start_qdrant`, `start_chroma`, `start_caddy`,
`start_postgres`, `start_mariadb`. One per test: `postgres` and `mariadb`, a fresh database of the session's server, and
`cloud_double`, a double of Chroma Cloud. The guard works only where a project asks for it with the ini option
`vecferry_registered_skips = true`; see `vecferry.testing.skips`.

Modules are imported on use: this one loads in every pytest run of an environment that has vecferry.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vecferry.testing.caddy import CaddyServer
    from vecferry.testing.cloud_double import CloudDouble
    from vecferry.testing.mariadb import MariaDBDatabase, MariaDBServer
    from vecferry.testing.postgres import PostgresDatabase, PostgresServer
    from vecferry.testing.s3 import S3Server
    from vecferry.testing.servers import ChromaServer, QdrantServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option that switches the guard on."""
    parser.addini(
        "vecferry_registered_skips", "fail tests skipped for a reason not in vecferry.testing.skips", type="bool"
    )


@pytest.fixture(scope="session")
def qdrant_server() -> Iterator[QdrantServer]:
    """A Qdrant server shared by the session: use collection names of your own."""
    from vecferry.testing.servers import running_qdrant

    if url := os.environ.get("VECFERRY_TEST_QDRANT_URL"):
        yield running_qdrant(url)
        return
    with contextlib.ExitStack() as stack:
        yield _qdrant(stack)


@pytest.fixture(scope="session")
def qdrant_with_key() -> Iterator[QdrantServer]:
    """A Qdrant server that wants the key in `server.api_key`."""
    with contextlib.ExitStack() as stack:
        yield _qdrant(stack, api_key="correct horse battery staple")


@pytest.fixture(scope="session")
def qdrant_with_tls() -> Iterator[QdrantServer]:
    """A Qdrant server behind TLS, signed by the authority in `server.ca_file`."""
    with contextlib.ExitStack() as stack:
        yield _qdrant(stack, tls=True)


@pytest.fixture
def start_qdrant() -> Iterator[Callable[..., QdrantServer]]:
    """Starts Qdrant servers for one test, with the options of `vecferry.testing.servers.start_qdrant`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: _qdrant(stack, **options)


@pytest.fixture(scope="session")
def chroma_server() -> Iterator[ChromaServer]:
    """A Chroma server shared by the session: use collection names of your own."""
    from vecferry.testing.servers import running_chroma

    if url := os.environ.get("VECFERRY_TEST_CHROMA_URL"):
        yield running_chroma(url)
        return
    with contextlib.ExitStack() as stack:
        yield _chroma(stack)


@pytest.fixture
def start_chroma() -> Iterator[Callable[..., ChromaServer]]:
    """Starts Chroma servers for one test, with the options of `vecferry.testing.servers.start_chroma`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: _chroma(stack, **options)


@pytest.fixture
def cloud_double(chroma_server: ChromaServer) -> Iterator[CloudDouble]:
    """A double of Chroma Cloud with the published quotas and an empty tenant, before the session's Chroma server."""
    from vecferry.testing.cloud_double import start_cloud_double

    with start_cloud_double(chroma_server) as double:
        yield double


@pytest.fixture(scope="session")
def caddy_chroma(chroma_server: ChromaServer) -> Iterator[CaddyServer]:
    """The session's Chroma server behind TLS (`ca_file`), with the token in `api_key`; `headers` has what it wants."""
    with contextlib.ExitStack() as stack:
        yield _caddy(stack, chroma_server.http_url, token="correct-horse-battery-staple")


@pytest.fixture
def start_caddy() -> Iterator[Callable[..., CaddyServer]]:
    """Starts Caddy servers for one test, with the options of `vecferry.testing.caddy.start_caddy`."""
    with contextlib.ExitStack() as stack:
        yield lambda upstream, **options: _caddy(stack, upstream, **options)


@pytest.fixture(scope="session")
def old_chroma_server() -> Iterator[Callable[..., ChromaServer]]:
    """Servers of earlier Chromas: `old_chroma_server("0.6.3", token=..., header=...)`, each started once."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda version, **options: _old_chroma(stack, version, **options))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3-compatible server with one bucket, shared by the session: use keys of your own."""
    from vecferry.testing.s3 import running_s3

    if url := os.environ.get("VECFERRY_TEST_S3_URL"):
        yield running_s3(url)
        return
    with contextlib.ExitStack() as stack:
        yield _s3(stack)


@pytest.fixture
def start_s3() -> Iterator[Callable[..., S3Server]]:
    """Starts S3-compatible servers for one test, with the options of `vecferry.testing.s3.start_s3`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: _s3(stack, **options)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL with pgvector shared by the session; `postgres` is a database of it."""
    from vecferry.testing.postgres import PostgresServer

    if url := os.environ.get("VECFERRY_TEST_POSTGRES_URL"):
        yield PostgresServer.named_by(url)
        return
    with contextlib.ExitStack() as stack:
        yield _postgres(stack)


@pytest.fixture(scope="session")
def postgres_with_tls() -> Iterator[PostgresServer]:
    """A PostgreSQL that speaks TLS only, signed by the authority in `server.ca_file`."""
    with contextlib.ExitStack() as stack:
        yield _postgres(stack, tls=True)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """A database of one's own with the extension vector."""
    with postgres_server.fresh_database() as database:
        yield database


@pytest.fixture
def start_postgres() -> Iterator[Callable[..., PostgresServer]]:
    """Starts PostgreSQL servers for one test, with the options of `vecferry.testing.postgres.start_postgres`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: _postgres(stack, **options)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """A MariaDB shared by the session; `mariadb` is a database of it."""
    from vecferry.testing.mariadb import MariaDBServer

    if url := os.environ.get("VECFERRY_TEST_MARIADB_URL"):
        yield MariaDBServer.named_by(url)
        return
    with contextlib.ExitStack() as stack:
        yield _mariadb(stack)


@pytest.fixture(scope="session")
def mariadb_with_tls() -> Iterator[MariaDBServer]:
    """A MariaDB that speaks TLS only, signed by the authority in `server.ca_file`."""
    with contextlib.ExitStack() as stack:
        yield _mariadb(stack, tls=True)


@pytest.fixture
def mariadb(mariadb_server: MariaDBServer) -> Iterator[MariaDBDatabase]:
    """A database of one's own."""
    with mariadb_server.fresh_database() as database:
        yield database


@pytest.fixture
def start_mariadb() -> Iterator[Callable[..., MariaDBServer]]:
    """Starts MariaDB servers for one test, with the options of `vecferry.testing.mariadb.start_mariadb`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: _mariadb(stack, **options)


def _postgres(stack: contextlib.ExitStack, **options: Any) -> PostgresServer:
    from vecferry.errors import Unavailable
    from vecferry.testing import postgres, skips

    try:
        programs = postgres.postgres_programs()
    except Unavailable as error:  # what cannot be had; a server that does not start is a failure
        skips.skip("postgres-server", error.message)
    if options.get("tls") and "tls" not in programs.powers:
        skips.skip("postgres-powers", "TLS")
    return stack.enter_context(postgres.start_postgres(programs=programs, **options))


def _mariadb(stack: contextlib.ExitStack, **options: Any) -> MariaDBServer:
    from vecferry.errors import Unavailable
    from vecferry.testing import debian, mariadb, skips

    try:
        debian.tree()
    except Unavailable as error:
        skips.skip("mariadb-server", error.message)
    return stack.enter_context(mariadb.start_mariadb(**options))


def _s3(stack: contextlib.ExitStack, **options: Any) -> S3Server:
    from vecferry.errors import Unavailable
    from vecferry.testing import s3, skips

    try:
        s3.VERSITYGW.path()
    except Unavailable as error:  # what cannot be had; a server that does not start is a failure
        skips.skip("s3-server", error.message)
    return stack.enter_context(s3.start_s3(**options))


def _qdrant(stack: contextlib.ExitStack, **options: Any) -> QdrantServer:
    from vecferry.errors import Unavailable, Unsupported
    from vecferry.testing import qdrant_binary, servers, skips

    try:
        qdrant_binary.qdrant_binary()
    except (Unavailable, Unsupported) as error:  # what cannot be had; a server that does not start is a failure
        skips.skip("qdrant-server", error.message)
    return stack.enter_context(servers.start_qdrant(**options))


def _chroma(stack: contextlib.ExitStack, **options: Any) -> ChromaServer:
    from vecferry.testing import servers, skips

    if "program" not in options and servers.chroma_program() is None:
        skips.skip("chroma-server", "chromadb is not installed")
    return stack.enter_context(servers.start_chroma(**options))


def _caddy(stack: contextlib.ExitStack, upstream: str, **options: Any) -> CaddyServer:
    from vecferry.errors import Unavailable
    from vecferry.testing import caddy, skips

    try:
        caddy.CADDY.path()
    except Unavailable as error:
        skips.skip("caddy", error.message)
    return stack.enter_context(caddy.start_caddy(upstream, **options))


def _old_chroma(stack: contextlib.ExitStack, version: str, **options: Any) -> ChromaServer:
    from vecferry.errors import Unavailable
    from vecferry.testing import old_chroma, skips

    try:
        old_chroma.python_of(version)
    except Unavailable as error:
        skips.skip("old-chroma", error.message)
    return stack.enter_context(old_chroma.start_old_chroma(version, **options))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip without a registered reason into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getini("vecferry_registered_skips"):
        _refuse_unregistered(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Likewise for a module that skips itself while it is collected (`importorskip`)."""
    report = yield
    if report.skipped and collector.config.getini("vecferry_registered_skips"):
        _refuse_unregistered(report)
    return report


def _refuse_unregistered(report: pytest.TestReport | pytest.CollectReport) -> None:
    from vecferry.testing import skips

    text = _skip_text(report)
    if skips.key_of(text) is None:
        report.outcome = "failed"
        report.longrepr = f"skipped for a reason that is not registered in vecferry.testing.skips: {text}"


def _skip_text(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped or not terminalreporter.config.getini("vecferry_registered_skips"):
        return
    terminalreporter.section(f"{len(skipped)} TESTS SKIPPED", sep="!", yellow=True, bold=True)
    for text, count in Counter(_skip_text(report).removeprefix("Skipped: ") for report in skipped).most_common():
        terminalreporter.line(f"{count:5}  {text}", yellow=True)
