"""The description of the API for programs, as OpenAPI has it."""

from collections.abc import Mapping
from typing import Any

from lookup.http.middleware.api_key import HEADER
from lookup.settings import Settings

Schema = Mapping[str, Any]

ID: Schema = {"type": "integer", "minimum": 1}
TEXT: Schema = {"type": "string"}
BIT: Schema = {"type": "integer", "enum": [0, 1], "default": 0}
ITEM: Schema = {
    "item_id": {"type": "integer"},
    "title": TEXT,
    "genres": {"type": "array", "items": TEXT},
    "year": {"type": ["integer", "null"]},
}
ORIGIN: Schema = {"generation": TEXT, "model_version": TEXT, "scored_at": TEXT}
RATED: Schema = {**ITEM, "rating": {"type": "number"}}

PROBLEMS: Mapping[int, str] = {
    401: "The key is missing or wrong.",
    404: "Not known in this generation.",
    422: "A parameter is not known or not right; the message says which and why.",
    503: "Redis does not answer, or nothing is published yet.",
}


def document(top_n: int | None, settings: Settings) -> dict[str, Any]:
    """Describe the API; how much may be asked for depends on what is published."""
    components: dict[str, Any] = {"schemas": _schemas()}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "MovieLens-XGB",
            "version": "1",
            "description": "Looks up recommendations that a batch made beforehand.",
        },
        "paths": _paths(_page(top_n, settings.k_default)),
        "components": components,
    }
    if settings.api_key:
        key = {"type": "apiKey", "in": "header", "name": HEADER}
        components["securitySchemes"] = {"key": key}
        described["security"] = [{"key": []}]
    return described


def _paths(page: list[Schema]) -> dict[str, Any]:
    user, item = _path("user_id"), _path("item_id")
    own = [
        _parameter("fallback", {"type": "string", "enum": ["popular", "none"]}),
        _parameter("because", BIT),
    ]
    return {
        "/recommend/{user_id}": _get("A user's list", "List", [user, *page, *own], 404),
        "/popular": _get("What most users rated", "List", page),
        "/similar/{item_id}": _get(
            "What is most like an item", "List", [item, *page], 404
        ),
        "/items/{item_id}": _get("One item", "Item", [item], 404),
        "/users/{user_id}": _get("What a user rated", "User", [user], 404),
        "/about": _get("The generation as a whole", "About", [], 404),
        "/health": _open("While the process lives", "Health"),
        "/ready": _open("Which generation is served", "Ready", 503),
        "/metrics": {"get": _operation("Prometheus", {200: _text()}, 401)},
        "/openapi.json": _get("This description", "Any", [], without=(422, 503)),
    }


def _get(
    summary: str,
    schema: str,
    parameters: list[Schema],
    *problems: int,
    without: tuple[int, ...] = (),
) -> dict[str, Any]:
    codes = sorted({401, 422, 503, *problems} - set(without))
    answers = {200: _json(summary, schema), 304: {"description": "As you have it."}}
    if without:
        del answers[304]
    operation = _operation(summary, answers, *codes)
    return {"get": {**operation, "parameters": parameters}}


def _open(summary: str, schema: str, *problems: int) -> dict[str, Any]:
    """Describe a route that wants no key."""
    operation = _operation(summary, {200: _json(summary, schema)}, *problems)
    return {"get": {**operation, "security": []}}


def _operation(
    summary: str, answers: Mapping[int, Schema], *problems: int
) -> dict[str, Any]:
    refused = {code: _json(PROBLEMS[code], "Problem") for code in problems}
    responses = {str(code): answer for code, answer in {**answers, **refused}.items()}
    return {"summary": summary, "responses": responses}


def _json(description: str, schema: str) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": description, "content": {"application/json": content}}


def _text() -> dict[str, Any]:
    content = {"text/plain": {"schema": TEXT}}
    return {"description": "Counts of all workers.", "content": content}


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": ID}


def _parameter(name: str, schema: Schema, **more: object) -> Schema:
    return {"name": name, "in": "query", "schema": schema, **more}


def _page(top_n: int | None, k_default: int) -> list[Schema]:
    k = {"type": "integer", "minimum": 1, "default": k_default}
    if top_n is not None:
        k |= {"maximum": top_n, "default": min(k_default, top_n)}
    offset = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1, "default": 0}
    genres = {"type": "array", "minItems": 1, "items": {**TEXT, "minLength": 1}}
    exclude = {"type": "array", "minItems": 1, "items": ID}
    return [
        _parameter("k", k),
        _parameter("offset", offset),
        _parameter("genre", genres, style="form", explode=True),
        _parameter("exclude", exclude, style="form", explode=False),
    ]


def _schemas() -> dict[str, Any]:
    driver = _object({"item_id": {"type": "integer"}, "title": TEXT})
    place = _object(
        {
            "rank": {"type": "integer", "minimum": 1},
            **ITEM,
            "score": {"type": "number"},
            "because": _list(driver),
        },
        "because",
    )
    numbers = {name: {"type": "integer"} for name in ("user_id", "item_id", "k")}
    listed = _object(
        {
            **numbers,
            **ORIGIN,
            "source": {"enum": ["personal", "popular", "similar"]},
            "fallback_reason": {"enum": ["unknown_user"]},
            "items": _list(place),
        },
        "user_id",
        "item_id",
        "fallback_reason",
    )
    user = {
        "user_id": {"type": "integer"},
        **ORIGIN,
        "n_ratings": {"type": "integer"},
        "highest": _list(_object(RATED)),
        "last": _list(_object(RATED)),
    }
    number = {"type": "number"}
    about = {
        **ORIGIN,
        **{name: {"type": "integer"} for name in ("top_n", "n_users", "n_items")},
        "genres": _list(TEXT),
        "examples": _list({"type": "integer"}),
        "protocol": {"type": ["string", "null"]},
        "metrics": _named(_named(number)),
    }
    return {
        "List": listed,
        "Item": _object({**ITEM, **ORIGIN}),
        "User": _object(user),
        "About": _object(about),
        "Health": _object({"status": {"const": "ok"}}),
        "Ready": _object({"status": {"const": "ready"}, **ORIGIN}),
        "Any": {"type": "object"},
        "Problem": _object({"error": _object({"code": TEXT, "message": TEXT})}),
    }


def _object(properties: Schema, *optional: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _named(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}
