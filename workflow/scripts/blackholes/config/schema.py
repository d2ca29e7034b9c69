"""JSON schema of the configuration, for editors: `python -m blackholes.config --schema > config/schema.json`.

It is pydantic's schema, changed so that overlays are valid too: no key is required, and `false` removes a named entry.
Types and ranges of single keys are checked; what keys demand of each other is left to `blackholes.config.model.load`.
"""

import json
from typing import Any

from blackholes.config.model import REMOVABLE, Config
from blackholes.config.snowballs import LARGEST, WORDS, Holes, Point, Range

LIMITS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
DROPPED = ("title", "required", "minProperties")


def schema() -> dict[str, Any]:
    """The schema, of draft 7: the latest that all YAML language servers support."""
    whole = Config.model_json_schema()
    sections = whole["$defs"] | {model.__name__: model.model_json_schema() for model in (Holes, Point, Range)}
    keys = sections["Snowball"]["properties"]
    keys["centroid"]["anyOf"] = [{"type": "string", "minLength": 1}, _ref("Point")]
    sigma = [{"type": "number", "minimum": 0, "maximum": LARGEST}, {"enum": list(WORDS)}, _ref("Range"), _ref("Holes")]
    keys["sigma"]["anyOf"] = [*sigma, {"type": "array", "minItems": 1, "items": {"anyOf": sigma}}]
    for section in sections.values():
        for key, value in section["properties"].items():
            _accept_shorthand(value, key, sections)
    for name in REMOVABLE:
        entries = whole["properties"][name]
        entries["additionalProperties"] = {"anyOf": [entries["additionalProperties"], {"const": False}]}
    whole["$defs"] = sections
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_draft_7(whole)}


def text() -> str:
    """The contents of config/schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _accept_shorthand(value: dict[str, Any], key: str, sections: dict[str, Any]) -> None:
    """Let a key whose section has a shorthand accept that word in place of the mapping."""
    words = {"init": sections["Init"]["properties"]["mode"]["enum"], "box": ["auto"]}
    words["record"] = sections["Record"]["properties"]["forces"]["enum"]
    words["rounding"] = ["nearest", "stochastic"]
    if key in words:
        value["anyOf"] = [{"enum": words[key]}, {"$ref": value.pop("$ref")}]


def _draft_7(node: Any) -> Any:
    """A schema without pydantic's leftovers and in the terms of draft 7, with what is allowed in the descriptions."""
    if isinstance(node, list):
        return [_draft_7(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {LIMITS.get(key, key): value for key, value in node.items() if key not in DROPPED}
    if "$ref" in node and len(node) > 1:  # in draft 7, keys beside $ref are ignored
        node = {"allOf": [{"$ref": node.pop("$ref")}], **node}
    if "allowed" in node:
        node["description"] += f". Allowed: {node.pop('allowed')}"
    if "prefixItems" in node:
        node["items"] = node.pop("prefixItems")
    if isinstance(node.get("default"), dict):  # of a section: its keys have their own
        del node["default"]
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    named = ("properties", "$defs")  # names → schemas: a name is not a keyword
    return {
        key: {name: _draft_7(inner) for name, inner in value.items()} if key in named else _draft_7(value)
        for key, value in node.items()
    }
