"""The campaign spec: the fields of a spec file and of ``aar start``, and how they are loaded.

Errors name the field, its line, and the nearest known field.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from aar.budget.limits import Limits, PlainNumbers
from aar.errors import DatabaseError, SpecError
from aar.llm.price_book import ModelPrice, PriceBook
from aar.store.engine import parse_url
from aar.strict_yaml import YamlDocument, YamlError, read_yaml

AUTO = "auto"


class _Part(PlainNumbers):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _is_of_one_line(cls, value: object) -> object:
        if isinstance(value, str) and any(ord(sign) < 32 or ord(sign) == 127 for sign in value):
            raise ValueError("input should be one line without control characters")
        return value


class ResearcherOverride(_Part):
    """Settings of one researcher that differ from the team's."""

    model: str | None = None
    """Model id; None takes the team's."""
    provider: Literal["anthropic", "bedrock", "vertex"] | None = None
    """Provider of its model; None takes the team's provider."""
    direction: str | None = None
    """Key of a direction in the directions file; None takes the dealt one."""


class Researchers(_Part):
    """The team."""

    count: int = Field(default=4, ge=1, le=500)
    """How many researchers work in parallel."""
    model: str = AUTO
    """Model id of all; ``auto`` is Claude with a key in the environment and the offline search baseline without."""
    provider: Literal["anthropic", "bedrock", "vertex"] = "anthropic"
    """Provider of the models. Bedrock and Vertex find their credentials in the environment, and take ids in their own
    spelling."""
    region: str | None = None
    """Region of Bedrock or Vertex; None takes the environment's."""
    base_url: str | None = None
    """Another server that speaks the provider's protocol, as an http or https URL; None is the provider's own."""
    patience_minutes: float = Field(default=15.0, gt=0, le=1440)
    """How long to wait for a service that is overloaded, down or out of reach before the campaign is paused. Pauses
    that the service requests do not count."""
    fallback: str | None = None
    """Model id to call when a researcher's own model is unavailable, per call; None calls no other."""
    thinking: Literal["auto", "off"] = "auto"
    """auto lets a capable model decide how much it thinks."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How much a model thinks, if that can be set; None leaves it to the service."""
    cache: Literal["auto", "5m", "1h"] = "auto"
    """Lifetime of prompt-cache entries; auto takes the cheaper one for each researcher's pauses."""
    context: Literal["auto", "clear", "local"] = "auto"
    """auto lets the service summarise old context if the model can; clear also clears old tool results before; local
    continues in a fresh conversation with the notebook."""
    context_tokens: int = Field(default=90_000, ge=20_000, le=900_000)
    """Size at which a conversation is summarised or replaced by a fresh one."""
    max_output_tokens: int = Field(default=8192, ge=256, le=128_000)
    """Limit of one turn's output; its cost is reserved before the call."""
    overrides: dict[int, ResearcherOverride] = Field(default_factory=dict)
    """By researcher number, from 1."""

    @field_validator("base_url")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is None or _is_web_address(value):
            return value
        raise ValueError("invalid server address; write one such as https://gateway.example:8443/v1")

    @model_validator(mode="after")
    def _overrides_exist(self) -> Researchers:
        for index in self.overrides:
            if not 1 <= index <= self.count:
                raise ValueError(f"overrides names researcher {index}, but there are {self.count} (numbered from 1)")
        return self


class Directions(_Part):
    """The directions of the researchers."""

    file: str | None = None
    """YAML file of directions; None takes the problem's own."""
    deal: Literal["distinct", "same", "named"] = "distinct"
    """distinct: a different one each; same: one for all; named: those in ``names``, in that order."""
    names: list[str] = Field(default_factory=list)
    """Keys of directions: all of them for ``named``, the single one for ``same`` (else the first is taken)."""

    @model_validator(mode="after")
    def _named_has_names(self) -> Directions:
        if self.deal == "named" and not self.names:
            raise ValueError("deal: named needs names, a list of direction keys")
        return self


class SandboxOptions(_Part):
    """Resources of each researcher's sandbox."""

    backend: Literal["auto", "docker", "bubblewrap"] = "auto"
    """auto takes Docker if an engine and the image are there, otherwise bubblewrap."""
    image: str = ""
    """Docker image; empty takes the one that ``aar sandbox build`` makes."""
    memory_gib: float = Field(default=2.0, gt=0)
    """Memory of one sandbox."""
    cpus: float = Field(default=1.0, gt=0)
    """CPU cores of one sandbox."""
    gpus: int = Field(default=0, ge=0)
    """GPUs that each researcher holds while it works; it waits until they are free."""
    workspace_gib: float = Field(default=1.0, gt=0)
    """Disk space of one workspace."""
    command_seconds: float = Field(default=300.0, gt=0)
    """Longest time that one foreground command may take."""
    job_seconds: float = Field(default=3600.0, gt=0)
    """Longest time that one background job may take."""
    patience_minutes: float = Field(default=15.0, ge=0, le=24 * 60)
    """How long to wait for an engine that does not answer before the campaign is paused."""


class ScoringOptions(_Part):
    """The scoring of submissions."""

    seeds: int | None = Field(default=None, ge=1, le=64)
    """Fresh seeds per submission, each with a fresh split; None takes the problem's default."""
    parallel: int | None = Field(default=None, ge=1)
    """Scoring runs at the same time; None takes as many as the cores reserved for scoring allow."""
    confirm_seeds: int | None = Field(default=None, ge=1, le=64)
    """Fresh seeds of a confirmation, on sealed splits; None takes as many as in a measurement."""
    confirm_top: int = Field(default=5, ge=0)
    """How many of the best are confirmed at the end; 0 confirms nothing, not even first place."""
    transfer_top: int = Field(default=3, ge=0)
    """How many of the confirmed ones are run on the transfer domains at the end."""
    audit_seeds: int = Field(default=2, ge=1, le=64)
    """Seeds of each run of an audit, and of a run on the transfer domains."""
    noise_levels: list[Annotated[float, Field(gt=0, le=0.5)]] = Field(default=[0.2, 0.4])
    """Shares of the teacher's labels that the label-noise audit flips; at 0.5 they carry no information."""
    reviewer: str | None = None
    """Model id of the audit that reads code and claim; None takes the team's, and skips the audit without a key."""


class ServeOptions(_Part):
    """The server of the campaign's pages while it runs."""

    enabled: bool = True
    """Whether to serve at all."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback every request needs a login or a token."""
    port: int = Field(default=8808, ge=0, le=65535)
    """Port; 0 takes a free one."""


class Price(_Part):
    """Dollars per million tokens of a model that the price library does not contain."""

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    cache_write_5m: Decimal = Field(ge=0)
    cache_write_1h: Decimal = Field(ge=0)
    cache_read: Decimal = Field(ge=0)


class CampaignSpec(_Part):
    """A whole campaign.

    Every field has a default: an empty spec is the quick campaign.
    """

    name: str = Field(default="quick", min_length=1, max_length=200)
    """For people."""
    problem: str = "weak_to_strong"
    """Name of a problem, or path of a folder with ``problem.py``."""
    researchers: Researchers = Researchers()
    """The team."""
    directions: Directions = Directions()
    """The directions of the researchers."""
    sandbox: SandboxOptions = SandboxOptions()
    """Resources of each researcher's sandbox."""
    limits: Limits = Limits(hours=0.1, submissions=16)
    """Limits of the campaign. The quick campaign's are six minutes, sixteen submissions and five dollars."""
    scoring: ScoringOptions = ScoringOptions()
    """The scoring of submissions."""
    serve: ServeOptions = ServeOptions()
    """The server of the campaign's pages while it runs."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """Prices of models that the price library does not contain, by model id."""
    seed: int | None = Field(default=None, ge=0)
    """Makes offline researchers and the scorer's draws repeatable, for tests; leave it out for real campaigns."""
    database: str | None = Field(default=None, exclude=True)
    """SQLAlchemy URL; None takes AAR_DATABASE, or SQLite under AAR_HOME. It may hold a password, so it is in no dump of
    a spec: it is never stored, shown or sent."""

    def price_book(self) -> PriceBook:
        """Return the price library with the spec's own prices on top."""
        return PriceBook({model: ModelPrice(**price.model_dump()) for model, price in self.prices.items()})

    @field_validator("database")
    @classmethod
    def _is_database_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_url(value)
            except DatabaseError as error:
                raise ValueError(f"{error.message}; {error.remedy}") from None
        return value


def _is_web_address(text: str) -> bool:
    if any(sign.isspace() or not sign.isprintable() for sign in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def load_spec(path: Path | None, overrides: Mapping[str, Any] | None = None) -> CampaignSpec:
    """Load a spec from a YAML file, or the quick campaign's, with overrides.

    Args:
        path: YAML file; None for the quick campaign.
        overrides: dotted field names to values, such as ``{"limits.usd": 3}``; they win over the file. A file that
            sets ``limits`` replaces the quick campaign's limits as a whole.

    Raises:
        SpecError: the file is unreadable, is not YAML, or is invalid; names the field and its line.
    """
    if path is None:
        read, where = YamlDocument({}, {}), "spec"
    else:
        read, where = _read(path), str(path)
        _anchor(read.value, path.parent)
    spec = _build(read.value, overrides or {}, where, read)
    _reject_login(spec.researchers.base_url or "", where)
    return spec


def override_stored_spec(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> CampaignSpec:
    """Return the spec stored as ``values``, with overrides on top. Raises SpecError."""
    return _build(copy.deepcopy(dict(values)), overrides, "spec")


def spec_from_fields(fields: Mapping[str, Any]) -> tuple[CampaignSpec | None, list[tuple[str, str]]]:
    """Return a spec from dotted fields, or the error of each field.

    Other fields are those of the quick campaign.

    Returns:
        The spec, None if invalid; and field and message of each error, with the messages of ``load_spec``.
    """
    values: dict[str, Any] = {}
    try:
        for dotted, value in fields.items():
            _set(values, dotted, value, "spec")
        return CampaignSpec.model_validate(values), []
    except SpecError as error:
        return None, [("", error.message)]
    except ValidationError as error:
        return None, [(".".join(str(step) for step in each["loc"]), _describe_error(each)) for each in error.errors()]


def _build(
    values: dict[str, Any], overrides: Mapping[str, Any], where: str, read: YamlDocument | None = None
) -> CampaignSpec:
    for dotted, value in overrides.items():
        _set(values, dotted, value, where)
    try:
        return CampaignSpec.model_validate(values)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors()[0]["loc"])
        line = read.line(tuple(place.split("."))) if read is not None and place not in overrides else 0
        where = f"{where}, line {line}" if line else where
        raise SpecError(f"{where}: {_explain(error)}", "See `aar spec example` and `aar spec schema`") from None


def _reject_login(address: str, where: str) -> None:
    """Refuse an address with a user name or a password.

    It is not quoted, because specs are stored, shown and compared.
    """
    if "@" in address.partition("//")[2].partition("/")[0]:
        raise SpecError(
            f"{where}: researchers.base_url contains a user name or a password: expected an address without them",
            "Give the server's key as ANTHROPIC_API_KEY, or AAR_ANTHROPIC_API_KEY_FILE",
        )


def _read(path: Path) -> YamlDocument:
    try:
        read = read_yaml(path)
    except FileNotFoundError as error:
        raise SpecError(f"no spec file {path}", "Write one with: aar spec example > campaign.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read spec {path}: {error}") from error
    except YamlError as error:
        raise SpecError(error.at(path), error.remedy or "See `aar spec example`") from None
    if read.value is None:
        return YamlDocument({}, {})
    if not isinstance(read.value, dict):
        raise SpecError(
            f"spec {path} is invalid: got a {type(read.value).__name__}, expected fields", "See `aar spec example`"
        )
    return read


def _anchor(values: dict[str, Any], folder: Path) -> None:
    """Resolve a directions file of a spec relative to that spec."""
    directions = values.get("directions")
    if isinstance(directions, dict) and isinstance(directions.get("file"), str):
        values["directions"] = {**directions, "file": str(folder / Path(directions["file"]).expanduser())}


def _set(values: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    *parents, last = dotted.split(".")
    for key, default in zip(parents, _defaults(parents), strict=True):
        inside = values.get(key, default)
        if not isinstance(inside, dict):
            raise SpecError(f"{where}: {key} is invalid: got {inside!r}, expected fields", "See `aar spec example`")
        values[key] = inside
        values = inside
    values[last] = value


def _defaults(parents: list[str]) -> list[dict[str, Any]]:
    """Return the defaults of an absent part: the quick campaign's own values."""
    part: Any = CampaignSpec().model_dump(exclude_none=True)
    found = []
    for key in parents:
        part = part.get(key, {})
        found.append(dict(part))
    return found


def _explain(error: ValidationError) -> str:
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return _describe_error(error.errors()[0]) + more


def _describe_error(first: ErrorDetails) -> str:
    place = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        *parents, wrong = (str(step) for step in first["loc"])
        known = list(_fields(parents))
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"no field {place}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    # An address may contain a password.
    quoted = not isinstance(first["input"], dict | BaseModel) and first["loc"][-1:] not in (
        ("database",),
        ("base_url",),
    )
    given = f" (got {first['input']!r})" if quoted else ""
    return f"{place or 'spec'}: {message[0].lower()}{message[1:]}{given}"


def _fields(parents: list[str]) -> list[str]:
    model: type[BaseModel] = CampaignSpec
    for key in parents:
        field = model.model_fields.get(key)
        if field is None:
            continue  # a key of a mapping, such as a researcher's number
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
