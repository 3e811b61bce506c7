"""A real S3-compatible server for tests: versitygw, the Versity S3 Gateway, on a folder of this machine.

    with start_s3() as server:
        url = f"chroma+s3://{server.bucket}/key.tar.gz"
        server.variables        # what the usual clients read: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …

Its makers publish a Go module; `go install` builds it once into the user's cache, checked against Go's own checksum
database. `VECFERRY_TEST_S3_BINARY=PATH` names another binary, `VECFERRY_TEST_S3_URL=http://HOST:PORT/BUCKET` a server
that runs already, with the keys of `VECFERRY_TEST_S3_ACCESS_KEY_ID` and `VECFERRY_TEST_S3_SECRET_ACCESS_KEY`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vecferry.testing import certificate
from vecferry.testing.go_binary import GoProgram
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.process import HttpServer, room_for, running

VERSITYGW = GoProgram(
    name="versitygw",
    module="github.com/versity/versitygw/cmd/versitygw",
    version="v1.8.0",
    variable="VECFERRY_TEST_S3_BINARY",
)
ACCESS_LOG = "access.log"
BUCKET = "vecferry-test"
ACCESS_KEY = "AKIAVECFERRYTEST"
SECRET_KEY = "not-a-secret-but-looks-like-one"


@dataclass(kw_only=True)
class S3Server(HttpServer):
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


@contextmanager
def start_s3(*, folder: Path | None = None, tls: bool = False) -> Iterator[S3Server]:
    """Run an S3-compatible server with an empty bucket `BUCKET`; `folder` keeps the data of an earlier one.

    Raises:
        Unavailable, ConfigError: the binary cannot be had (see `go_binary`), or the server does not start.
    """
    binary = VERSITYGW.path()
    with room_for("s3", folder) as room:
        (room / "buckets" / BUCKET).mkdir(parents=True, exist_ok=True)
        issued = certificate.issue(room) if tls else None
        secured = ["--cert", str(issued.chain), "--key", str(issued.key)] if issued else []

        def build() -> S3Server:
            (port,) = free_ports(1)
            command = [str(binary), "--port", f"{HOST}:{port}", "--health", "/health", *secured]
            command += ["--access-log", str(room / ACCESS_LOG)]
            return S3Server(
                name="S3",
                http_url=f"{'https' if tls else 'http'}://{HOST}:{port}",
                ports=(port,),
                folder=room,
                ca_file=issued.ca if issued else None,
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
