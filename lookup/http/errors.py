"""Build every error response: `{"error": {"code": …, "message": …}}`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookup.store.errors import StoreError

RETRY = {"Retry-After": "1"}


class ApiError(Exception):
    """A refused request, with a status, a code for programs and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def invalid_parameter(message: str) -> ApiError:
    """Return the error for a parameter with a bad name or value."""
    return ApiError(422, "invalid_parameter", message)


def response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error response."""
    body = {"error": {"code": code, "message": message}}
    return JSONResponse(body, status, headers=headers)


def from_exception(error: Exception) -> JSONResponse:
    """Return the response to an exception, without details of an unexpected one."""
    if isinstance(error, ApiError):
        return response(error.status, error.code, str(error))
    if isinstance(error, StoreError):
        return response(503, error.code, str(error), RETRY)
    return response(500, "internal_error", "internal error; the log has the traceback")


async def handle(_: Request, error: Exception) -> JSONResponse:
    """Handle an exception of a route."""
    return from_exception(error)


async def handle_http(request: Request, error: Exception) -> Response:
    """Handle an unknown route or a wrong method, and answer OPTIONS."""
    refused = cast(HTTPException, error)
    headers = dict(refused.headers or {})
    if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": f"{headers['Allow']}, OPTIONS"}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    code = HTTPStatus(refused.status_code).phrase.lower().replace(" ", "_")
    message = f"{refused.detail}: {request.method} {request.url.path}"
    return response(refused.status_code, code, message, headers)


HANDLERS = {
    HTTPException: handle_http,
    **dict.fromkeys((ApiError, StoreError, Exception), handle),
}
