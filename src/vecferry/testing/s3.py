"""A real S3-compatible server for tests: versitygw, the Versity S3 Gateway, on a folder of this machine.

    with start_s3() as server:
        url = f"chroma+s3://{server.bucket}/key.tar.gz"
        server.variables        # what the usual clients read: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …

Its makers publish a Go module; `go install` builds it once into the user's cache, checked against Go's own checksum
database. `VECFERRY_TEST_S3_BINARY=PATH` names another binary, `VECFERRY_TEST_S3_URL=http://HOST:PORT/BUCKET` a server
that runs already, with the keys of `VECFERRY_TEST_S3_ACCESS_KEY_ID` and `VECFERRY_TEST_S3_SECRET_ACCESS_KEY`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from vecferry.errors import ConfigError, Unavailable
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.process import Server, room_for, running

VERSION = "v1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
BUILD_TIMEOUT_S = 900
ACCESS_LOG = "access.log"
BUCKET = "vecferry-test"
ACCESS_KEY = "AKIAVECFERRYTEST"
SECRET_KEY = "not-a-secret-but-looks-like-one"


@dataclass(kw_only=True)
class S3Server(Server):
    """An S3-compatible server with one bucket; `http_url` is its endpoint."""

    bucket: str = BUCKET
    access_key: str = ACCESS_KEY
    secret_key: str = field(default=SECRET_KEY, repr=False)
    region: str = "us-east-1"

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables that lead a client here."""
        return {
            "AWS_ENDPOINT_URL": self.http_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }

    def requests(self, operation: str) -> list[str]:
        """The keys of all requests so far, of one operation (GetObject, PutObject, …), by the server's access log."""
        lines = (self.folder / ACCESS_LOG).read_text(encoding="utf-8").splitlines()
        found = [re.search(rf" s3_(\w+) (.*?) /{self.bucket}[/ ?]", line) for line in lines]
        return [one[2] for one in found if one is not None and one[1] == operation]

    @property
    def port(self) -> int:
        """Its port, for a proxy before it."""
        port = urlsplit(self.http_url).port
        assert port is not None
        return port


def s3_binary() -> Path:
    """The path of a versitygw that can be started; built into the user's cache on first use.

    Raises:
        Unavailable: Go is missing, or the module cannot be fetched or built.
        ConfigError: VECFERRY_TEST_S3_BINARY names no program.
    """
    if named := os.environ.get("VECFERRY_TEST_S3_BINARY"):
        if not os.access(named, os.X_OK):
            raise ConfigError(
                f"VECFERRY_TEST_S3_BINARY names {named}, which is no program.",
                hint="Name a versitygw that may be executed, or unset the variable.",
            )
        return Path(named).resolve()
    folder = Path(platformdirs.user_cache_dir("vecferry")) / "versitygw" / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test workers build once
        if not (folder / "versitygw").is_file():
            _build(folder)
    return folder / "versitygw"


def _build(folder: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        raise Unavailable("Go is not installed.", hint="Install Go, or set VECFERRY_TEST_S3_BINARY=PATH.")
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        try:
            subprocess.run(
                [go, "install", MODULE],
                env={**os.environ, "GOBIN": fresh, "CGO_ENABLED": "0"},
                capture_output=True,
                check=True,
                text=True,
                timeout=BUILD_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip()
            raise Unavailable(
                f"go install {MODULE} failed: {said[-400:]}",
                hint="Run again once Go's module proxy can be reached, or set VECFERRY_TEST_S3_BINARY=PATH.",
            ) from error
        (Path(fresh) / "versitygw").replace(folder / "versitygw")


@contextmanager
def start_s3(*, folder: Path | None = None, tls: bool = False) -> Iterator[S3Server]:
    """Run an S3-compatible server with an empty bucket `BUCKET`; `folder` keeps the data of an earlier one.

    Raises:
        Unavailable, ConfigError: the binary cannot be had (see `s3_binary`), or the server does not start.
    """
    binary = s3_binary()
    with room_for("s3", folder) as room:
        (room / "buckets" / BUCKET).mkdir(parents=True, exist_ok=True)
        secured = _certificate(room) if tls else []

        def build() -> S3Server:
            (port,) = free_ports(1)
            command = [str(binary), "--port", f"{HOST}:{port}", "--health", "/health", *secured]
            command += ["--access-log", str(room / ACCESS_LOG)]
            return S3Server(
                name="S3",
                http_url=f"{'https' if tls else 'http'}://{HOST}:{port}",
                ports=(port,),
                folder=room,
                ca_file=room / "ca.pem" if tls else None,
                command=[*command, "posix", "--sidecar", str(room / "sidecar"), str(room / "buckets")],
                environment={"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY},
                ready_path="/health",
            )

        (room / "sidecar").mkdir(exist_ok=True)
        yield from running(build)


def running_s3(url: str) -> S3Server:
    """Somebody else's server, `http://HOST:PORT/BUCKET`; never stopped by us."""
    parts = urlsplit(url)
    return S3Server(
        name="S3",
        http_url=f"{parts.scheme}://{parts.netloc}",
        bucket=parts.path.strip("/"),
        access_key=os.environ.get("VECFERRY_TEST_S3_ACCESS_KEY_ID", ""),
        secret_key=os.environ.get("VECFERRY_TEST_S3_SECRET_ACCESS_KEY", ""),
        folder=Path(os.devnull),
    )


def _certificate(room: Path) -> list[str]:
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "localhost")
    authority.cert_pem.write_to_path(room / "ca.pem")
    issued.private_key_pem.write_to_path(room / "key.pem")
    (room / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return ["--cert", str(room / "cert.pem"), "--key", str(room / "key.pem")]
