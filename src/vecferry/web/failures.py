"""Why a request got no answer, as errors that say what to do."""

from __future__ import annotations

import re

import httpx

from vecferry.errors import ConfigError, Unavailable, VecferryError
from vecferry.web.address import Address
from vecferry.web.answers import SHOWN

_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|record layer failure")
_UNKNOWN_HOST = re.compile(r"name or service|nodename|getaddrinfo|name resolution|resolve", re.IGNORECASE)


def of_request(error: httpx.HTTPError, address: Address) -> VecferryError:
    """The error of a request that got no answer."""
    store, text = address.store, _with_causes(error)
    said = text.partition(" | ")[0][:SHOWN]
    if _NO_TLS.search(text):
        hint = f"Write {address.scheme}+http:// or another port."
        return ConfigError(f"{store} does not speak TLS on this port.", hint=hint)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        way = f"Name the authority that signed it with ?{address.ca_option}=PATH"
        text = f"The certificate of {store} is not trusted: {said}"
        return ConfigError(text, hint=f"{way}, and the host as the certificate names it.")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _unreachable(address, said, unknown=_UNKNOWN_HOST.search(text) is not None)
    if isinstance(error, httpx.TimeoutException):
        return Unavailable(f"{store} did not answer in time.", store=store, hint="Raise it with ?timeout=SECONDS.")
    hint = f"If it speaks TLS, write {address.scheme}+https://; otherwise something else may be listening there."
    return Unavailable(f"{store} broke off: {said}", store=store, hint=hint, broke_off=True)


def _unreachable(address: Address, said: str, *, unknown: bool) -> Unavailable:
    store = address.store
    if unknown:
        return Unavailable(f"The host of {store} is not known.", store=store, hint="Check the spelling and your DNS.")
    hint = f"Is the server running there, and is the port right ({address.usual_port})?"
    return Unavailable(f"{store} cannot be reached: {said or 'no answer'}", store=store, hint=hint)


def _with_causes(error: BaseException) -> str:
    """What an error says, then what its causes say."""
    said = []
    cause: BaseException | None = error
    while cause is not None:
        said.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return " | ".join(said)
