"""The captions of figures and tables, workflow/report/*.rst, as HTML: the same text as in Snakemake's report."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docutils.core import publish_parts
from docutils.utils import SystemMessage
from jinja2 import Environment, StrictUndefined, TemplateError

from blackholes.errors import UserError

_SETTINGS = {
    "halt_level": 3,  # an error in a caption is one here too
    "report_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "initial_header_level": 4,
}


def to_html(file: Path, wildcards: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """A caption as a fragment of HTML.

    Args:
        wildcards: of the job whose output it is of; config: the workflow's. Both may be named in the caption, as
            Snakemake has them: `{{ snakemake.wildcards.run }}`.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    job = SimpleNamespace(wildcards=SimpleNamespace(**wildcards), config=config)
    try:
        source = Environment(undefined=StrictUndefined, autoescape=False).from_string(file.read_text(encoding="utf-8"))
        text = source.render(snakemake=job)
        return publish_parts(text, writer="html5", settings_overrides=_SETTINGS)["body"]
    except (OSError, TemplateError, SystemMessage) as error:
        raise UserError(f"{file}: cannot be read as a caption: {error}") from error


def first_sentence(fragment: str) -> str:
    """The first sentence of a fragment of HTML, as plain text: what a figure's text alternative says."""
    text = " ".join(re.sub(r"<[^>]+>", "", fragment).split())
    for character, name in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(character, name)
    found = re.match(r".*?\.(?= |$)", text)
    return found[0] if found else text
