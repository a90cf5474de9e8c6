"""The JSON schemas of configs, for editors: made of the same pydantic models that check them, every method's and kind's too.

`make schema` writes them into the package. What depends on the data or the trunk, and what holds between keys,
only the check itself knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from trunkline import branches, tasks, trackers
from trunkline.data.formats import formats
from trunkline.model.approach import FINE_TUNING, approach_of
from trunkline.registry import Registry
from trunkline.training.config import RunConfig, presets
from trunkline.training.distillation.config import DistillConfig

SHIPPED = Path(__file__).parent.parent / "config.schema.json"


class _Untitled(GenerateJsonSchema):
    """Without a title for every key, which would only repeat it."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def config_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a config as it is written in YAML, short forms included."""
    schema = _schema_of(RunConfig)
    definitions: dict[str, Any] = schema["$defs"]
    methods, own = branches.methods, schema["properties"]
    side_branches = [name for name in methods.names() if _is_side_branch(name)]
    definitions["DataSection"]["properties"]["format"] = {"enum": [*formats.names(), None], "default": None}
    own["preset"] = {"enum": sorted(presets()), "description": "a method and training as published"}
    own["trunk"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/TrunkSection"}], "default": "minilm"}
    own["method"] = {"anyOf": [{"enum": methods.names()}, {"$ref": "#/$defs/Method"}], "default": own["method"]["default"]}
    definitions["Method"] = _one_of(methods, "name", methods.names(), definitions, default="adalayers")
    definitions["SideBranch"] = _one_of(methods, "name", side_branches, definitions)
    definitions["Task"] = _one_of(tasks.kinds, "kind", tasks.kinds.names(), definitions)
    own["tasks"] |= {"additionalProperties": {"$ref": "#/$defs/Task"}}
    own["tasks"].pop("propertyNames", None)
    definitions["Tracker"] = _one_of(trackers.trackers, "name", trackers.trackers.names(), definitions)
    tracker = {"anyOf": [{"enum": trackers.trackers.names()}, {"$ref": "#/$defs/Tracker"}]}
    own["trackers"] = {"anyOf": [*tracker["anyOf"], {"type": "array", "items": tracker}], "default": []}
    for name in methods.names():
        if approach_of(methods.get(name).Config.model_construct(name=name)) is FINE_TUNING:
            head = definitions[f"name-{name}"]["properties"]["head"]
            head["anyOf"] = [{"enum": ["plain", *side_branches]}, {"$ref": "#/$defs/SideBranch"}]
    for name in tasks.kinds.names():
        definitions[f"kind-{name}"]["properties"]["data"] = {"anyOf": [{"$ref": "#/$defs/DataSection"}, {"type": "null"}]}
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "Config of Trunkline", **schema}


def distillation_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the config of a distillation as it is written in YAML."""
    schema = _schema_of(DistillConfig)
    schema["$defs"]["TextsSection"]["properties"]["format"] = {"enum": [*formats.names(), None], "default": None}
    schema["properties"]["trunk"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/TrunkSection"}], "default": "minilm"}
    for section in ("LossSection", "RelationSection"):  # numbers of layers, which are strings in JSON
        layers = schema["$defs"][section]["properties"]["layers"]
        for case in layers["anyOf"]:
            if case.get("type") == "object":
                case["propertyNames"] = {"pattern": "^[0-9]+$"}
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "Config of a distillation of Trunkline", **schema}


def as_text(schema: dict[str, Any]) -> str:
    """The schema as it is shipped."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def _is_side_branch(name: str) -> bool:
    return issubclass(branches.methods.get(name), branches.SideBranch)


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=_Untitled)


def _one_of(
    registry: Registry[Any], key: str, names: Iterable[str], definitions: dict[str, Any], default: str | None = None
) -> dict[str, Any]:
    """A section that says by `key` which of several it is. Each one's schema is added to `definitions`."""
    names, cases = list(names), []
    for name in names:
        place = f"{key}-{name}"
        if place not in definitions:
            section = _schema_of(registry.get(name).Config)
            definitions.update(section.pop("$defs", {}))
            section["properties"][key] = {"const": name}
            section["required"] = sorted({*section.get("required", []), *([] if name == default else [key])})
            definitions[place] = section
        given: dict[str, Any] = {"properties": {key: {"const": name}}} | ({} if name == default else {"required": [key]})
        cases.append({"if": given, "then": {"$ref": f"#/$defs/{place}"}})
    return {
        "type": "object",
        "properties": {key: {"enum": names}},
        "required": [] if default else [key],
        "allOf": cases,
    }
