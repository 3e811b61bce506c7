"""Secrets as references: `env:NAME` or `file:PATH`, resolved late, never printed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vecferry.errors import ConfigError


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A reference to a secret. Its text form is `***`; only `reveal()` reads the value."""

    reference: str

    def reveal(self) -> str:
        """The secret's value, without surrounding white space.

        Raises:
            ConfigError: the variable is not set, the file cannot be read, or the reference has another form.
        """
        kind, _, where = self.reference.partition(":")
        if kind == "env":
            return _from_environment(where)
        if kind == "file":
            return _from_file(where)
        raise ConfigError(
            "A secret must be a reference, not the secret itself.",
            hint="Write api_key=env:NAME or api_key=file:PATH and put the key there.",
        )

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"The environment variable {name} is empty or not set.", hint=f"Set it: export {name}=…")
    return value


def _from_file(path: str) -> str:
    try:
        value = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"The secret file {path} cannot be read: {error.strerror}.", hint="Check its path and its permissions."
        ) from error
    if not value:
        raise ConfigError(f"The secret file {path} is empty.", hint="Put the key there, and nothing else.")
    return value


def default_secret(*names: str) -> Secret | None:
    """A reference to the first of the environment variables `names` that is set, or None."""
    return next((Secret(f"env:{name}") for name in names if os.environ.get(name, "").strip()), None)
