"""The configuration of training texts."""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from blackholes.config.fields import FilePath, Integer, Number, Section, inherit, refuse, setting
from blackholes.training.vocabulary import VOCABULARIES


class Corpus(Section):
    """The training text. It is read once, cleaned, and written as tokens with a table of which tokens are dead."""

    LEFT_BEHIND: ClassVar = {
        ("source", "builtin"): ["path", "url", "sha256", "encoding"],
        ("source", "file"): ["url", "sha256"],
        ("source", "url"): ["path", "sha256"],
    }
    UNUSED: ClassVar = {("vocabulary", "ascii"): ["vocabulary_size", "tokenizer_text"]}

    name: str | None = setting(
        None,
        "folder of the tokens under `results/corpus/`; null: `builtin` or the file's name without its extension, "
        "followed by the vocabulary if it is not `ascii`: `builtin-bpe2000`",
        "lower-case letters, digits, _ and -, 100 at most",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        max_length=100,
    )
    source: Literal["builtin", "file", "url"] = setting(
        "builtin",
        "`builtin`: the language reference that every Python ships (`pydoc_data.topics`; the text depends on "
        "the Python version, which is recorded); `file`: needs `path`; `url`: needs `url`",
    )
    path: FilePath | None = setting(
        None, "text file, relative to the folder Snakemake runs in", "a path, with source: file", min_length=1
    )
    url: str | None = setting(
        None, "address of a text file", "http:// or https://, with source: url", pattern=r"^https?://[^\s/?#\[\]]+\S*$"
    )
    sha256: str | None = setting(
        None,
        "expected SHA-256 of the file; null: not checked",
        "64 hexadecimal digits, with source: file or url",
        pattern=r"^[0-9a-fA-F]{64}$",
    )
    encoding: str = setting("utf-8", "text encoding of the file", "an encoding Python knows, such as utf-8 or cp1252")
    vocabulary: Literal["ascii", "bpe"] = setting(
        "ascii",
        "the tokens. `ascii`: the 128 ASCII characters, any other character is dropped and counted; `bpe`: parts "
        "of words, byte-level byte-pair encoding as in GPT-2, learnt from a text",
    )
    vocabulary_size: Integer | None = setting(
        None,
        "number of tokens of `bpe`, including the 256 bytes",
        "integer from 256 up to 65536, with vocabulary: bpe; else null",
        ge=256,
        le=65536,
    )
    tokenizer_text: FilePath | None = setting(
        None,
        "text file that the tokens of `bpe` are learnt from, in the same encoding; null: the whole text of this "
        "corpus, even if models train on a part of it",
        "null, or a path, with vocabulary: bpe",
        min_length=1,
    )
    training_part: Number = setting(
        1.0,
        "fraction of the text, from its start, that models train on; tokens that occur only in the rest are dead",
        gt=0,
        le=1,
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding):
        try:
            b"a".decode(encoding)
        except UnicodeError:  # a text encoding that cannot decode this byte
            pass
        except (LookupError, ValueError):  # ValueError: a null character in the name
            raise ValueError from None
        return encoding

    @model_validator(mode="after")
    def _source_fits(self):
        for key, sources in {"path": ["file"], "url": ["url"], "sha256": ["file", "url"]}.items():
            value = getattr(self, key)
            if value is not None and self.source not in sources:
                refuse(key, value, f"null where source is {self.source} (or source: {' or '.join(sources)})")
            if value is None and key == self.source.replace("file", "path"):
                refuse(key, value, f"a value, since source is {self.source}")
        if self.source == "builtin" and self.encoding != "utf-8":
            refuse("encoding", self.encoding, "utf-8 where source is builtin (or source: file or url)")
        if self.vocabulary == "bpe" and self.vocabulary_size is None:
            refuse("vocabulary_size", None, "integer from 256 up to 65536, since vocabulary is bpe")
        place = self.path or (self.url and urlsplit(self.url).path) or "builtin"
        stem = re.sub(r"[^a-z0-9_-]+", "-", PurePath(place).stem.lower())[:80].strip("-_")
        kind = f"-bpe{self.vocabulary_size}" if self.vocabulary == "bpe" else ""
        self.name = self.name or (stem or self.source) + kind
        return self

    @property
    def folder(self) -> str:
        """The name, which validation has filled in."""
        assert self.name is not None
        return self.name

    @property
    def size(self) -> int:
        """V, the number of tokens."""
        return self.vocabulary_size or VOCABULARIES[self.vocabulary]


def merge(common: Any, experiment: Any) -> Any:
    """The experiment with a complete `corpus`: its own keys merged over those of the `common` corpus.

    A corpus that differs does not inherit `name`; if only its BPE vocabulary differs, the name gets that as a suffix.
    """
    if not (isinstance(experiment, Mapping) and isinstance(common, Mapping)):
        return experiment
    own = experiment.get("corpus", {})
    merged = inherit(Corpus, common, own)
    if isinstance(own, Mapping) and own and "name" not in own:
        name = merged.pop("name", None)
        size = merged.get("vocabulary_size")
        if name and size and not {"source", "path", "url"} & set(own) and merged.get("vocabulary") == "bpe":
            merged["name"] = f"{name}-bpe{size}"
    return {**experiment, "corpus": merged}
