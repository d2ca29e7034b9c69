"""Building blocks of the configuration, and its types, ranges and errors worded for people who write YAML."""

import difflib
import json
import os
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from blackholes.errors import printable


def no_bool(value: Any) -> Any:
    """Refuse true and false for a number: YAML's `yes` would silently become 1."""
    if isinstance(value, bool):
        raise ValueError
    return value


Integer = Annotated[int, BeforeValidator(no_bool)]
Number = Annotated[float, BeforeValidator(no_bool), Field(allow_inf_nan=False)]
Step = Annotated[int, BeforeValidator(no_bool), Field(ge=0)] | Literal["last"]


def file_path(path: str) -> str:
    """Refuse, in a validator of a key, a path that no file can have."""
    if any(len(os.fsencode(part)) > 255 for part in path.split("/")):
        refuse("", path, "a path whose parts have at most 255 bytes each")
    if printable(path) != path:
        refuse("", path, "a path without control characters")
    return path


def _input_path(path: str) -> str:
    if "{" in path or "}" in path:
        refuse("", path, "a path without braces, which Snakemake takes for wildcards")
    return path


FilePath = Annotated[str, AfterValidator(file_path)]
InputPath = Annotated[FilePath, AfterValidator(_input_path)]  # of a file that Snakemake itself looks at


def _results_folder(path: str) -> str:
    if "<" in path or ">" in path:
        refuse("", path, "a path without angle brackets, which Snakemake takes for its own variables")
    if os.path.normpath(path) in (os.curdir, os.pardir, os.sep):
        refuse("", path, "a folder for the results alone")
    return os.path.normpath(path)


ResultsFolder = Annotated[InputPath, AfterValidator(_results_folder)]


def setting(default: Any, meaning: str, allowed: str | None = None, **limits) -> Any:
    """A key of a section; `allowed` describes in words what type and range do not say."""
    extra: dict[str, Any] | None = {"allowed": allowed} if allowed else None
    return Field(default, description=meaning, json_schema_extra=extra, validate_default=False, **limits)


def refuse(key: str, value: Any, allowed: str) -> NoReturn:
    """Raise an error about one key, from a validator of its whole section; with "" from a validator of the key."""
    raise PydanticCustomError("impossible", "impossible", {"key": key, "value": value, "allowed": allowed})


class Section(BaseModel):
    """A mapping of the configuration. Unknown keys are refused, and so are keys unused under another key's value."""

    model_config = ConfigDict(extra="forbid")

    WORD: ClassVar[str | None] = None  # a word in place of the mapping is the value of this key
    UNUSED: ClassVar[dict[tuple[str, str], list[str]]] = {}  # (key, value) → keys that must then have their default
    MOVED: ClassVar[dict[str, str]] = {}  # a key of earlier releases → the key that replaced it, for messages
    LEFT_BEHIND: ClassVar[dict[tuple[str, str], list[str]]] = {}  # (key, value) → keys that are then not inherited

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value):
        return cls.expand_shorthand(value)

    @classmethod
    def expand_shorthand(cls, value: Any) -> Any:
        """The mapping that a single word stands for; other values unchanged."""
        return value if cls.WORD is None or isinstance(value, (Mapping, cls)) else {cls.WORD: value}

    @model_validator(mode="after")
    def _no_unused_keys(self):
        for (choice, chosen), keys in self.UNUSED.items():
            for key in keys if getattr(self, choice) == chosen else []:
                value, default = getattr(self, key), type(self).model_fields[key].default
                if value != default:
                    value, default = (list(v) if isinstance(v, tuple) else v for v in (value, default))
                    refuse(key, value, f"{json.dumps(default)} where {choice} is {chosen}")
        return self


def inherit(section: type[Section], defaults: Any, own: Any) -> Any:
    """`own` merged over `defaults`, key by key, without inherited keys that the choices in `own` make unused."""
    defaults = section.expand_shorthand(defaults)
    if not (isinstance(defaults, Mapping) and isinstance(own, Mapping)):
        return own
    choices = [*section.UNUSED.items(), *section.LEFT_BEHIND.items()]
    unused = {key for (choice, value), keys in choices if own.get(choice) == value for key in keys}
    merged = {key: value for key, value in defaults.items() if key not in unused}
    for key, value in own.items():
        inner = section_type(section.model_fields[key]) if key in section.model_fields else None
        merged[key] = inherit(inner, merged[key], value) if inner and key in merged else value
    return merged


def section_type(field: FieldInfo) -> type[Section] | None:
    """The section that a key holds, or None for a key with a plain value."""
    inner = field.annotation
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def problem_line(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """One validation error of pydantic as a line: dotted key, value, what is allowed."""
    loc, kind, context, value = problem["loc"], problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "impossible":
        loc, value = (*loc, *filter(None, context["key"].split("."))), context["value"]
    is_name = loc[-1:] == ("[key]",)
    key, field, section = _field(loc[:-1] if is_name else loc, model)
    if kind == "extra_forbidden":
        siblings = list(section.model_fields)
        moved = getattr(section, "MOVED", {}).get(loc[-1])
        near = [moved] if moved else difflib.get_close_matches(str(loc[-1]), siblings, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key}: unknown key (value {_short(value)}); {hint}allowed here: {', '.join(siblings)}"
    if kind == "impossible":
        allowed = context["allowed"]
    elif is_name:
        allowed = str(context.get("error") or "text as a name")
    else:
        allowed = allowed_words(field) if field else "a mapping of keys ({} for none)"
    shown = "missing" if kind == "missing" else f"{_short(value)} is not allowed"
    return f"{key or 'configuration'}: {shown}; expected {allowed}"


def _field(loc: tuple, model: type[BaseModel]) -> tuple[str, FieldInfo | None, type[BaseModel]]:
    """(dotted key, its field or None where it is a section or unknown, the section it is in) of an error."""
    key, field, section = "", None, model
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            section, field = here, here.model_fields.get(part)
            here = field.annotation if field else None
        elif get_origin(here) is dict:
            field, here = None, get_args(here)[1]
        elif isinstance(part, int):
            key += f"[{part}]"
            continue
        else:  # pydantic puts the names of union members here
            continue
        key += f".{part}" if key else str(part)
    if isinstance(here, type) and issubclass(here, BaseModel):
        field = None
    return key, field, section


def _short(value: Any) -> str:
    plain = value is None or isinstance(value, bool)  # written as in YAML
    text = json.dumps(value) if plain else " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def type_words(annotation: Any) -> str:
    """The name of a type in YAML's terms."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(parts[0])
    if origin is Literal:
        return type_words(type(parts[0]))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_words(part) for part in parts))
    names = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(annotation) or ("list" if origin in (list, tuple) else "mapping")


def allowed_words(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["allowed"])
    if get_origin(field.annotation) is Literal:
        *words, last = map(str, get_args(field.annotation))
        return f"{', '.join(words)} or {last}" if words else last
    words = [type_words(field.annotation)]
    for name, word in {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}.items():
        words += [f"{word} {getattr(limit, name):.10g}" for limit in field.metadata if hasattr(limit, name)]
    return " ".join(words)
