"""What may be asked of records on their way, as frozen values that a person writes in a plan or transform file. No I/O.

A *step* is one change. A *flow* is what a plan moves as one collection: one or several collections of the source, each
with steps of its own, then steps for all of them. So a renamed key is a step, a split is several flows that read one
collection with different filters, and a merge is one flow that reads several collections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from vecferry.errors import ConfigError
from vecferry.filters.where import parse_where
from vecferry.model import Json, JsonObject, Metric
from vecferry.tables import Form
from vecferry.transforms.templates import Template

ANY = "*"
"""In `re_embed.models`: the model of every record that no other entry names."""


class Kind(StrEnum):
    """What a metadata value may be cast to."""

    INT = "int"
    FLOAT = "float"
    STR = "str"
    BOOL = "bool"
    DATETIME = "datetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An embedding model; exactly one of `url`, `local` and `call` says where it is.

    Attributes:
        url: base of an OpenAI-compatible HTTP interface: texts are sent to `{url}/embeddings`.
        model: its name there.
        local: `model2vec:NAME`, `sentence-transformers:NAME` or `wordllama:NAME`, run in this process.
        call: `module:function`, a function of yours from a list of texts to a float32 array, shape (texts, dim).
        api_key: `env:NAME` or `file:PATH`; never the key itself.
        dimensions: asked of the interface, and checked.
        prefix: put before each text; max_chars: what a longer text (prefix included) is cut to.
        batch: texts in one request; concurrency: requests at a time.
        price: of a million tokens, for the estimate alone.
    """

    url: str = ""
    model: str = ""
    local: str = ""
    call: str = ""
    api_key: str = ""
    dimensions: int | None = None
    prefix: str = ""
    max_chars: int | None = None
    batch: int = 64
    concurrency: int = 4
    price: float = 0.0

    def check(self) -> None:
        """Raise `ConfigError` where this names no model, or no possible one."""
        if sum(map(bool, (self.url, self.local, self.call))) != 1:
            raise ConfigError("A model is named by exactly one of url, local and call.", hint=_MODEL)
        if self.url and (not self.url.startswith(("http://", "https://")) or "@" in self.url or "?" in self.url):
            raise ConfigError("A model's url is http(s)://HOST/PATH, without user, password or query.", hint=_MODEL)
        if self.url and not self.model:
            raise ConfigError("An HTTP interface needs the name of a model.", hint=_MODEL)
        if self.api_key and not self.api_key.startswith(("env:", "file:")):
            raise ConfigError("api_key must be a reference, not the key itself.", hint="Write api_key: env:NAME.")
        if self.call and self.call.count(":") != 1:
            raise ConfigError(f"'{self.call}' names no function.", hint="Write call: package.module:function.")
        for name in ("dimensions", "max_chars", "batch", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}.", hint="Leave it out for the default.")
        if self.price < 0:
            raise ConfigError("price must not be negative.", hint="Leave it out where nothing is paid.")


_MODEL = "For example: re_embed: {url: https://api.openai.com/v1, model: text-embedding-3-small, api_key: env:NAME}."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReEmbed(Model):
    """New vectors, made from the documents by one model, or by the one of `models` that metadata key `by` names.

    Attributes:
        models: text of the value under `by` -> model; `*` for every other record.
        vector: name of the vector that is replaced, or added where there is none; by default the only dense one.
        metric: of the new vector; by default that of the one it replaces, else cosine.
        missing: only records without a vector, with one of zeros, or with one of another length than the others get a
            new one; the others keep theirs.
    """

    by: str = ""
    models: Mapping[str, Model] = field(default_factory=dict)
    vector: str | None = None
    metric: Metric | None = None
    missing: bool = False

    def check(self) -> None:
        if bool(self.by) != bool(self.models):
            raise ConfigError("by and models go together.", hint="Write re_embed: {by: lang, models: {de: {…}}}.")
        if self.by and (self.url or self.local or self.call):
            raise ConfigError("With by, each entry of models names a model, and nothing beside them.", hint=_MODEL)
        for model in self.all_models:
            model.check()

    @property
    def all_models(self) -> tuple[Model, ...]:
        """Every model that may be asked."""
        return tuple(self.models.values()) if self.by else (self.single,)

    @property
    def single(self) -> Model:
        """The model that this names itself."""
        return Model(**{item.name: getattr(self, item.name) for item in fields(Model)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change; exactly one field is set.

    Attributes:
        rename: old metadata key -> new one. drop: metadata keys. cast: metadata key -> kind of its values.
        constant: metadata key -> value that every record gets. compute: metadata key -> template, `{source}#{page}`.
        filter: which records go on, in Chroma's `where` form.
        ids: template of new ids, `{@collection}:{@id}`.
        re_embed: new vectors from the documents.
    """

    rename: Mapping[str, str] | None = None
    drop: tuple[str, ...] | None = None
    cast: Mapping[str, Kind] | None = None
    constant: Mapping[str, Json] | None = None
    compute: Mapping[str, str] | None = None
    filter: JsonObject | None = None
    ids: str | None = None
    re_embed: ReEmbed | None = None

    @property
    def kind(self) -> str:
        """The name of the field that is set."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    def check(self) -> None:
        """Raise `ConfigError` where this step cannot be done on any record."""
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"A transform does one thing, and this one does {' and '.join(given) or 'nothing'}.",
                hint=f"Write a list of transforms, each with one of: {', '.join(KINDS)}.",
            )
        if self.rename is not None:
            _check_rename(self.rename)
        if self.filter is not None:
            parse_where(self.filter)
        for key, value in (self.constant or {}).items():
            _check_constant(key, value)
        for template in (*(self.compute or {}).values(), *([self.ids] if self.ids is not None else [])):
            Template.parse(template)
        if self.ids is not None and "@id" not in Template.parse(self.ids).names:
            raise ConfigError("New ids must hold the old ones.", hint="Use {@id} in it: '{@collection}:{@id}'.")
        if self.re_embed is not None:
            self.re_embed.check()


KINDS = tuple(item.name for item in fields(Step))


def _check_rename(names: Mapping[str, str]) -> None:
    if len(set(names.values())) < len(names) or set(names) & set(names.values()):
        raise ConfigError(
            "Two keys are renamed to one, or a key to one that is renamed itself.",
            hint="Write two steps where the order matters.",
        )


def _check_constant(key: str, value: object) -> None:
    """A plan is stored as JSON: what YAML makes of an unquoted date would not come back from there."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_constant(f"{key}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            _check_constant(key, inner)
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise ConfigError(
            f"The constant '{key}' is a {type(value).__name__}.",
            hint="Write it in quotes, and cast it in a later step: cast: {KEY: datetime}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One collection of the source that a flow reads (by its qualified name), and what is done to its records first."""

    collection: str
    transforms: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What a plan moves as one collection.

    Attributes:
        name: how it is called in plans, ledger and reports; for a collection that is neither split nor merged, its
            qualified name.
        target: the name that it was given, None for the default.
    """

    name: str
    reads: tuple[Read, ...]
    transforms: tuple[Step, ...] = ()
    target: str | None = None

    @property
    def plain(self) -> bool:
        """It is a collection of the source, as it is."""
        return not self.transforms and self.reads == (Read(collection=self.name),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a transform file says of the collections whose name fits `source`.

    Attributes:
        source: a name, or a glob. target: the new name, with `{name}`, `{value}`, or a `*` as in OLD-*=NEW-*.
        split: a metadata key: one target for each of its values.
    """

    source: str
    target: str | None = None
    split: str | None = None
    transforms: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole transform file.

    Attributes:
        transforms: for every collection that no rule names.
        flows: instead of all that, what a plan file has worked out already.
        tables: how tables of a SQL store are read, by their qualified names; done before anything else.
    """

    transforms: tuple[Step, ...] = ()
    collections: tuple[Rule, ...] = ()
    flows: tuple[Flow, ...] = ()
    tables: Mapping[str, Form] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `ConfigError` where a step cannot be done on any record."""
        for step in (*self.transforms, *(step for rule in self.collections for step in rule.transforms)):
            step.check()
        for flow in self.flows:
            check_steps(flow)


def check_steps(flow: Flow) -> None:
    """Raise `ConfigError` where a step of `flow` cannot be done on any record."""
    for step in (*flow.transforms, *(step for read in flow.reads for step in read.transforms)):
        step.check()
