"""Where a bucket is and who we are there: from a URL's options, then from the variables that people have already.

| option                | variables, the first that is set                                         |
|-----------------------|--------------------------------------------------------------------------|
| `endpoint`            | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `R2_ENDPOINT_URL`             |
| `region`              | `AWS_REGION`, `AWS_DEFAULT_REGION`                                       |
| `access_key_id`       | `AWS_ACCESS_KEY_ID`; for R2: `R2_ACCESS_KEY_ID`, then `AWS_…`            |
| `secret_access_key`   | `AWS_SECRET_ACCESS_KEY`; for R2: `R2_SECRET_ACCESS_KEY`, then `AWS_…`    |
| `session_token`       | `AWS_SESSION_TOKEN`, never beside a key of another origin                |

It is R2 where the endpoint is one of Cloudflare's, or came from `R2_ENDPOINT_URL`. Google Cloud Storage takes its
usual variables (`GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from vecferry.errors import ConfigError
from vecferry.secret import Secret
from vecferry.url import StoreUrl

TRANSPORTS = frozenset({"s3", "gs"})
OPTIONS = frozenset({"endpoint", "region", "anonymous", "ca", "timeout"})
SECRETS = frozenset({"access_key_id", "secret_access_key", "session_token"})
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "R2_ENDPOINT_URL")
_R2 = ".r2.cloudflarestorage.com"
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one bucket. Without `key`, the library looks for a role of this machine (S3) or its own (GCS)."""

    transport: str
    bucket: str
    endpoint: str | None = None
    region: str | None = None
    key: Secret | None = None
    secret: Secret | None = None
    token: Secret | None = None
    anonymous: bool = False
    ca: str | None = None
    timeout_s: float = _TIMEOUT_S

    @property
    def place(self) -> str:
        """The bucket as text that tells it from all others, without secrets."""
        host = "" if self.endpoint is None else f"@{urlsplit(self.endpoint).netloc}"
        return f"{self.transport}://{self.bucket}{host}"


def access(url: StoreUrl, environment: Mapping[str, str]) -> Access:
    """What `url` and the environment say.

    Raises:
        ConfigError: an option has no sense, or one half of a pair of keys is missing.
    """
    endpoint, r2 = _endpoint(url, environment)
    key, secret, token = _keys(url, environment, r2=r2)
    return Access(
        transport=url.transport or "",
        bucket=url.host or "",
        endpoint=endpoint,
        region=url.options.get("region") or ("auto" if r2 else None),
        key=key,
        secret=secret,
        token=token,
        anonymous=_flag(url, "anonymous"),
        ca=url.options.get("ca"),
        timeout_s=_seconds(url),
    )


def _endpoint(url: StoreUrl, environment: Mapping[str, str]) -> tuple[str | None, bool]:
    """The endpoint, and whether R2's keys go with it."""
    name = next((name for name in _ENDPOINTS if environment.get(name, "").strip()), "")
    given = url.options.get("endpoint")
    endpoint = given or environment.get(name, "").strip() or None
    if url.transport != "s3" or endpoint is None:
        return (given if url.transport == "gs" else None), False
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.password:
        raise ConfigError(
            f"The endpoint of {url.scheme}+s3://{url.host} is not an address.",
            hint="Write endpoint=https://HOST[:PORT], without user, password or bucket.",
        )
    return endpoint.rstrip("/"), host.endswith(_R2) or (given is None and name == "R2_ENDPOINT_URL")


def _keys(
    url: StoreUrl, environment: Mapping[str, str], *, r2: bool
) -> tuple[Secret | None, Secret | None, Secret | None]:
    """The pair of keys and the session's token, all of one origin."""
    given = url.secret("access_key_id"), url.secret("secret_access_key"), url.secret("session_token")
    families = [_family(environment, "R2")] if r2 else []
    for key, secret, token in (given, *families, _family(environment, "AWS")):
        if (key is None) != (secret is None):
            missing = "secret_access_key" if secret is None else "access_key_id"
            raise ConfigError(
                f"{url.scheme}+{url.transport}://{url.host} has one half of a pair of keys: {missing} is missing.",
                hint="Set both variables, or write both references into the URL.",
            )
        if key is not None:
            return key, secret, token
    return None, None, None


def _family(environment: Mapping[str, str], name: str) -> tuple[Secret | None, Secret | None, Secret | None]:
    names = (f"{name}_ACCESS_KEY_ID", f"{name}_SECRET_ACCESS_KEY", f"{name}_SESSION_TOKEN")
    key, secret, token = (Secret(f"env:{n}") if environment.get(n, "").strip() else None for n in names)
    return key, secret, token


def _flag(url: StoreUrl, name: str) -> bool:
    text = url.options.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise ConfigError(f"{name}={text} is neither true nor false.", hint=f"Write {name}=true or leave it out.")
    return text == "true"


def _seconds(url: StoreUrl) -> float:
    text = url.options.get("timeout", str(_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"timeout={text} is not a number of seconds.", hint="Write timeout=120, for example.")
    return seconds
