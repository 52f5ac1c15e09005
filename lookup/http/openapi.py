"""Fill in `openapi.json`, which describes the API to programs."""

import json
from pathlib import Path
from typing import Any

from lookup.settings import Settings
from lookup.shared.contract import IdKind

DOCUMENT = Path(__file__).with_name("openapi.json").read_text(encoding="utf-8")


PATH_SCHEMAS: dict[IdKind, dict[str, Any]] = {
    IdKind.POSITIVE: {"type": "integer", "minimum": 1},
    IdKind.INTEGER: {"type": "integer", "minimum": 0},
    IdKind.TEXT: {"type": "string", "minLength": 1, "maxLength": 128},
}


QUERY_PARAMETERS = {"user_id": ("users",), "item_id": ("session", "since", "exclude")}
"""The parameters that list ids, by what the ids are of."""


def document(
    top_n: int | None,
    settings: Settings,
    users: IdKind = IdKind.POSITIVE,
    items: IdKind = IdKind.POSITIVE,
) -> dict[str, Any]:
    """Return the description; `top_n` is None if nothing is published yet."""
    described: dict[str, Any] = json.loads(DOCUMENT)
    described["info"]["title"] = settings.page_title
    components = described["components"]
    k = components["parameters"]["k"]["schema"]
    k["default"] = settings.k_default
    if top_n is not None:
        k |= {"maximum": top_n, "default": min(settings.k_default, top_n)}
    describe_ids(described, "user_id", users)
    describe_ids(described, "item_id", items)
    if settings.root_path:
        described["servers"] = [{"url": settings.root_path}]
    if settings.api_key is None:
        del described["security"], components["securitySchemes"]
    return described


def describe_ids(described: dict[str, Any], name: str, kind: IdKind) -> None:
    """Describe the ids of users or of items, in paths, queries and answers."""
    schema, parameters = PATH_SCHEMAS[kind], described["components"]["parameters"]
    parameters[name]["schema"] = schema
    for listing in QUERY_PARAMETERS[name]:
        parameters[listing]["schema"]["items"] = schema
    if name == "item_id":  # commas separate integers only
        parameters["exclude"]["explode"] = kind is IdKind.TEXT
    if kind is IdKind.TEXT:
        retype(described["components"]["schemas"], name)


def retype(schemas: Any, name: str) -> None:  # noqa: ANN401 - any part of a schema
    """Make a property of this name a text wherever it is."""
    if isinstance(schemas, list):
        for part in schemas:
            retype(part, name)
    if isinstance(schemas, dict):
        for key, part in schemas.items():
            if key == name:
                schemas[key] = {"type": "string"}
            else:
                retype(part, name)
