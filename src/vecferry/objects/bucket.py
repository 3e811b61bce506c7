"""A bucket of S3, of anything that speaks S3 (R2, MinIO, …), or of Google Cloud Storage: the few verbs that we need.

Requests go through obstore, the Rust crate object_store for Python (docs/adr/0014). It repeats what failed on the way
(5xx, broken connections) a few times by itself; what comes out of here is one of our errors, and never repeats the
body of an answer, which may hold parts of a signature.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from vecferry.errors import (
    AuthFailed,
    ConfigError,
    Conflict,
    NotFound,
    StoreFull,
    Throttled,
    Unavailable,
    VecferryError,
)
from vecferry.objects.access import Access, access
from vecferry.registry import missing_extra
from vecferry.url import StoreUrl

RETRIES = 5
_RETRY = {
    "max_retries": RETRIES,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_KIND = re.compile(r"\bkind: (\w+)")
_KEYS = re.compile(r"AccessKey|Signature|UserNotFound|Token|AccessDenied|AllAccessDisabled")
_FULL = frozenset({"QuotaExceeded", "StorageFull", "XMinioStorageFull", "NoSpaceLeft", "EntityTooLarge"})
_BUSY = frozenset({"SlowDown", "TooManyRequests", "ServiceUnavailable", "RequestLimitExceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One object. `etag` changes whenever its bytes do; `version` is GCS's generation."""

    key: str
    size: int
    etag: str
    modified: datetime
    version: str | None = None


class Bucket:
    """One bucket. Keys are whole, with `/` in them; nothing stays open between calls. Thread-safe.

    Every method raises AuthFailed, NotFound, Conflict, StoreFull, Throttled, Unavailable or ConfigError.
    """

    def __init__(self, reach: Access) -> None:
        self.place = reach.place
        self._shown = f"{reach.transport}://{reach.bucket}"
        with self._said(""):
            self._store = _gcs(reach) if reach.transport == "gs" else _s3(reach)

    def shown(self, key: str) -> str:
        """`key` as a person would write it."""
        return f"{self._shown}/{key}"

    def stat(self, key: str) -> Stat | None:
        """What is known of an object without reading it; None where there is none."""
        import obstore

        try:
            with self._said(key):
                return _stat(obstore.head(self._store, key))
        except NotFound:
            return None

    def read(self, key: str) -> tuple[bytes, Stat]:
        """A small object, whole, and what it is."""
        import obstore

        with self._said(key):
            found = obstore.get(self._store, key)
            return bytes(found.bytes()), _stat(found.meta)

    def read_range(self, stat: Stat, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of the object that `stat` says.

        Raises:
            Conflict: it was replaced meanwhile.
        """
        import obstore

        with self._said(stat.key):
            options: Any = {"range": (start, end)}
            if stat.etag:
                options["if_match"] = stat.etag
            return bytes(obstore.get(self._store, stat.key, options=options).bytes())

    def write(self, key: str, data: bytes | memoryview, *, instead_of: Stat | None = None, new: bool = False) -> None:
        """Put `data` at `key`, whole or not at all, and durable when this returns.

        Raises:
            Conflict: something else than `instead_of` stands there by now, or anything at all, where it is to be `new`.
        """
        import obstore

        mode: Any = "create" if new else "overwrite"
        if instead_of is not None:
            mode = {"e_tag": instead_of.etag} | ({"version": instead_of.version} if instead_of.version else {})
        with self._said(key):
            octets = memoryview(data).cast("B")  # the only kind of buffer that it takes for bytes
            obstore.put(self._store, key, octets, mode=mode, use_multipart=False)

    def objects(self, prefix: str) -> Iterator[Stat]:
        """Every object below `prefix/`, in no order."""
        import obstore

        with self._said(prefix):
            for metas in obstore.list(self._store, prefix or None, chunk_size=1000):
                yield from map(_stat, metas)

    def children(self, prefix: str) -> tuple[list[str], list[Stat]]:
        """What stands directly below `prefix/`: the names of what would be folders, and the objects."""
        import obstore

        with self._said(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)
            folders = [path.rpartition("/")[2] for path in found["common_prefixes"]]
            return sorted(folders), [_stat(meta) for meta in found["objects"]]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects. Removing what is not there is no error."""
        import obstore

        for start in range(0, len(keys), 1000):
            some = list(keys[start : start + 1000])
            try:
                with self._said(some[0]):
                    obstore.delete(self._store, some)
            except NotFound:  # GCS says so; the rest of the batch may not have been tried
                for key in some:
                    self._delete_one(key)

    def missing(self, key: str) -> NotFound:
        """The error for a key that is not there; its hint lists near names.

        Raises:
            NotFound, AuthFailed: the bucket itself is not there, or may not be listed.
        """
        parent = key.rpartition("/")[0]
        folders, objects = self.children(parent)
        names = [f"{parent}/{name}".lstrip("/") for name in folders] + [one.key for one in objects]
        near = get_close_matches(key, names, n=3, cutoff=0.4) or names[:3]
        beside = ", ".join(self.shown(name) for name in near)
        return NotFound(
            f"There is no {self.shown(key)}.",
            store=self.shown(key),
            hint=f"There are: {beside}." if near else "Nothing stands beside it either; check bucket and key.",
        )

    def _delete_one(self, key: str) -> None:
        import obstore

        try:
            with self._said(key):
                obstore.delete(self._store, key)
        except NotFound:
            pass

    @contextmanager
    def _said(self, key: str) -> Iterator[None]:
        """Turn what obstore raises into our errors."""
        try:
            yield
        except VecferryError:
            raise
        except ModuleNotFoundError as error:
            raise missing_extra("s3: and gs: URLs", "objects") from error
        except (OSError, ValueError, _base_error()) as error:
            raise _translated(error, self.shown(key)) from error


def open_bucket(url: StoreUrl) -> tuple[Bucket, str]:
    """The bucket of `url`, and the key or prefix in it.

    Raises:
        ConfigError: an option has no sense, or the extra `objects` is not installed.
    """
    return Bucket(access(url, os.environ)), url.path.strip("/")


def _stat(meta: Any) -> Stat:
    return Stat(
        key=meta["path"],
        size=meta["size"],
        etag=meta["e_tag"] or "",
        modified=meta["last_modified"],
        version=meta["version"],
    )


# --------------------------------------------------------------------------- opening


def _s3(reach: Access) -> Any:
    from obstore.store import S3Store

    config: dict[str, Any] = {"skip_signature": True} if reach.anonymous else {}
    if reach.endpoint:
        config["aws_endpoint_url_s3"] = reach.endpoint  # goes before every variable
    if reach.region:
        config["region"] = reach.region
    provider = None if reach.key is None or reach.anonymous else _provider(reach)
    return S3Store(
        reach.bucket,
        config=cast(Any, config),
        client_options=_client(reach),
        retry_config=cast(Any, _RETRY),
        credential_provider=cast(Any, provider),
    )


def _gcs(reach: Access) -> Any:
    from obstore.store import GCSStore

    config: dict[str, Any] = {"skip_signature": True} if reach.anonymous else {}
    if reach.endpoint:
        config["base_url"] = reach.endpoint
    return GCSStore(
        reach.bucket, config=cast(Any, config), client_options=_client(reach), retry_config=cast(Any, _RETRY)
    )


def _provider(reach: Access) -> Any:
    """The keys, read anew whenever they are asked for; so no variable of another origin mixes in."""

    def credentials() -> dict[str, Any]:
        key, secret, token = reach.key, reach.secret, reach.token
        return {
            "access_key_id": key.reveal() if key else "",
            "secret_access_key": secret.reveal() if secret else "",
            "token": token.reveal() if token else None,
            "expires_at": None,
        }

    credentials()  # a reference that leads nowhere is an error now, not in the middle of a request
    return credentials


def _client(reach: Access) -> Any:
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=reach.timeout_s),
        "allow_http": bool(reach.endpoint and reach.endpoint.startswith("http://")),
    }
    if reach.ca:
        options["root_certificate"] = _certificates(reach.ca)
    return options


def _certificates(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The certificates in {path} cannot be read: {error.strerror}.", hint="Name a PEM file with ca=PATH."
        ) from error


# --------------------------------------------------------------------------- errors


def _base_error() -> type[Exception]:
    try:
        from obstore.exceptions import BaseError
    except ModuleNotFoundError:
        return VecferryError
    return BaseError


def _translated(error: Exception, where: str) -> VecferryError:
    text = str(error)
    code = found[1] if (found := _CODE.search(text)) else ""
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    said = f" ({code})" if code else f" (HTTP {status})" if status else ""
    if status in {401, 403} or _KEYS.search(code):
        aws = "the keys (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or R2_…), the region"
        keys = "GOOGLE_APPLICATION_CREDENTIALS" if where.startswith("gs:") else aws
        return AuthFailed(
            f"{where} may not be used with these keys{said}.",
            store=where,
            hint=f"Check {keys}, and what the key may do: list the bucket, read it, and for backups write and delete. "
            "Public buckets: ?anonymous=true.",
        )
    if code == "NoSuchBucket":
        return NotFound(
            f"There is no bucket for {where}.", store=where, hint="Check the bucket's name and the endpoint."
        )
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound(f"There is no {where}.", store=where, hint="Check bucket, key and endpoint.")
    if status in {409, 412} or type(error).__name__ in {"PreconditionError", "AlreadyExistsError"}:
        return Conflict(
            f"{where} was changed by somebody else meanwhile.", store=where, hint="Run the same command again."
        )
    if code in _FULL or status == 507:
        return StoreFull(f"{where} takes no more{said}.", store=where, hint="Free space there, then run again.")
    if status == 429 or code in _BUSY:
        return Throttled(f"{where} asks for fewer requests{said}.", store=where, hint="It is tried again, slower.")
    if isinstance(error, ValueError) or status in {301, 307, 400}:
        return ConfigError(
            f"{where} cannot be asked for{said}.",
            hint="Check bucket, key, region and endpoint; a key has no empty parts and no '..'.",
        )
    return Unavailable(
        f"{where} cannot be reached: {_why(text, said)}.",
        store=where,
        hint="Check the endpoint (AWS_ENDPOINT_URL or R2_ENDPOINT_URL) and the network, then run the command again.",
    )


def _why(text: str, said: str) -> str:
    """What went wrong, in words of our own: the library's own may repeat what the server said."""
    if said:
        return f"the server cannot answer{said}"
    kind = found[1] if (found := _KIND.search(text)) else ""
    return {"Connect": "nobody answers there", "Timeout": "no answer in time"}.get(kind, "the connection broke off")
