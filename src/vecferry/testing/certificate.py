"""A certificate for loopback, signed by an authority that exists for one server only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecferry.errors import Unavailable
from vecferry.testing.ports import HOST


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the authority to trust, the server's chain and its key."""

    ca: Path
    chain: Path
    key: Path


def issue(room: Path) -> Certificate:
    """Write a certificate for 127.0.0.1 and localhost into `room`.

    Raises:
        Unavailable: trustme is not installed.
    """
    try:
        import trustme
    except ImportError as error:
        raise Unavailable("trustme is not installed.", hint='pip install "vecferry[testing]"') from error
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "localhost")
    made = Certificate(room / "ca.pem", room / "cert.pem", room / "key.pem")
    authority.cert_pem.write_to_path(made.ca)
    issued.private_key_pem.write_to_path(made.key)
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return made
