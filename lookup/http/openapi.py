"""Fill in `openapi.json`, which describes the API to programs."""

import json
from pathlib import Path
from typing import Any

from lookup.settings import Settings

DOCUMENT = Path(__file__).with_name("openapi.json").read_text(encoding="utf-8")


def document(top_n: int | None, settings: Settings) -> dict[str, Any]:
    """Return the description; `top_n` is None if nothing is published yet."""
    described: dict[str, Any] = json.loads(DOCUMENT)
    described["info"]["title"] = settings.page_title
    components = described["components"]
    k = components["parameters"]["k"]["schema"]
    k["default"] = settings.k_default
    if top_n is not None:
        k |= {"maximum": top_n, "default": min(settings.k_default, top_n)}
    if settings.root_path:
        described["servers"] = [{"url": settings.root_path}]
    if settings.api_key is None:
        del described["security"], components["securitySchemes"]
    return described
