"""The JSON schemas of configs of many runs, for editors: a study (`trunkline compare`) and a sweep (`trunkline sweep`).

They are made of the schema of a run's config (training/schema.py) and of the models that check the rest. `make schema` writes
every kind's file into the package (cli/schema.py).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from trunkline.cli.schema import FILES
from trunkline.studies.config import StudyConfig
from trunkline.studies.sweep.config import SweepSection
from trunkline.training.schema import as_text, config_schema, distillation_schema

FOLDER = Path(__file__).parent.parent
OF_A_RUN = ("trunk", "data", "tasks", "trackers")  # sections of a study that are those of a run


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def study_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the config of a study, as it is written in YAML."""
    run, study = config_schema(), StudyConfig.model_json_schema(schema_generator=_Untitled)
    definitions = run["$defs"] | study["$defs"]
    own = study["properties"] | {key: run["properties"][key] for key in OF_A_RUN}
    own["trunks"] = {"anyOf": [{"type": "array", "minItems": 1, "items": run["properties"]["trunk"]}, {"type": "null"}]}
    # What one method changes of the training section, and what the section itself has, leave out the rest.
    own["training"] = {"$ref": "#/$defs/TrainingSection"}
    entry = definitions["MethodEntry"]["properties"]
    entry["method"] = {"anyOf": [*run["properties"]["method"]["anyOf"], {"type": "null"}]}
    entry["training"] = {"$ref": "#/$defs/TrainingSection"}
    entry["preset"] = {"anyOf": [run["properties"]["preset"], {"type": "null"}]}
    named = {"enum": definitions["Method"]["properties"]["name"]["enum"]}
    one = {"anyOf": [{"$ref": "#/$defs/MethodEntry"}, {"type": "null"}]}
    own["methods"] = {
        "anyOf": [
            {"type": "object", "minProperties": 1, "additionalProperties": one},
            {"type": "array", "minItems": 1, "items": named},
        ],
        "description": "name -> what is different for it; an empty entry is the method of that name",
    }
    return run | {"title": "Config of a study", "properties": own, "required": study["required"], "$defs": definitions}


def sweep_schema() -> dict[str, Any]:
    """Return the schema of the config of a sweep: that of a run, and the section `sweep`."""
    schema = deepcopy(config_schema())
    section = SweepSection.model_json_schema(schema_generator=_Untitled)
    schema["$defs"] |= section.pop("$defs", {}) | {"SweepSection": section}
    schema["properties"]["sweep"] = {"$ref": "#/$defs/SweepSection"}
    schema["required"] = [*schema.get("required", []), "sweep"]
    return schema | {"title": "Config of a sweep"}


SCHEMAS = {"run": config_schema, "study": study_schema, "sweep": sweep_schema, "distillation": distillation_schema}


if __name__ == "__main__":
    for kind, make in SCHEMAS.items():
        (FOLDER / FILES[kind]).write_text(as_text(make()), encoding="utf-8")
