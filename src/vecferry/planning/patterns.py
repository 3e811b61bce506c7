"""Which collections, and under which names: `docs-*`, `old=new`, `old-*=new-*`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern. `source` names collections of the source; `target` is the new name, None to keep it."""

    source: str
    target: str | None = None

    def fits(self, spec: CollectionSpec) -> bool:
        """Whether it names this collection, by its name or by its qualified name."""
        return self._match(spec) is not None

    def rename(self, spec: CollectionSpec) -> str | None:
        """The new name of this collection; None where the pattern does not fit or gives none."""
        match = self._match(spec)
        if match is None or self.target is None:
            return None
        return self.target.replace("*", match.group(1)) if "*" in self.target else self.target

    def _match(self, spec: CollectionSpec) -> re.Match[str] | None:
        regex = re.compile("(.*)".join(re.escape(part) for part in self.source.split("*")), re.DOTALL)
        found = regex.fullmatch(spec.name) or regex.fullmatch(spec.qualified_name)
        return re.fullmatch(".*", self.source, re.DOTALL) if found is None and self._is_alias(spec) else found

    def _is_alias(self, spec: CollectionSpec) -> bool:
        """Whether it is another name of this collection, in a store that has such (Qdrant)."""
        return self.source in spec.config.get("aliases", ())


def parse_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Patterns from text.

    Raises:
        ConfigError: an empty side, or a `*` in the new name without one in the old.
    """
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Pattern:
    source, separator, target = text.partition("=")
    if not source or (separator and not target):
        raise ConfigError(
            f"'{text}' is not a collection pattern.", hint="Write NAME, a glob such as 'docs-*', or OLD=NEW."
        )
    if target.count("*") > 1 or ("*" in target and source.count("*") != 1):
        raise ConfigError(
            f"'{text}' does not say what its '*' stands for.",
            hint="A new name may hold one '*', where the old name holds exactly one: 'old-*=new-*'.",
        )
    return Pattern(source, target or None)
