"""What is said when a request cannot be answered."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookup.store.store import CODES

RETRY = {"Retry-After": "1"}


class Problem(Exception):
    """A request that cannot be answered: the status, a code for programs, a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def unprocessable(message: str) -> Problem:
    """Make the problem of a parameter that is not as it should be."""
    return Problem(422, "invalid_parameter", message)


def response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Put a problem into the form that every error has."""
    body = {"error": {"code": code, "message": message}}
    return JSONResponse(body, status, headers=headers)


def of_problem(problem: Problem) -> JSONResponse:
    """Say what is wrong with a request."""
    return response(problem.status, problem.code, str(problem))


def of_store(error: Exception) -> JSONResponse:
    """Say that the store has nothing to give for now."""
    return response(503, CODES[type(error)], str(error), RETRY)


def of_bug() -> JSONResponse:
    """Say that something happened that nobody foresaw, and nothing of the inside."""
    return response(500, "internal_error", "an error of ours; the log says more")


async def on_problem(_: Request, error: Exception) -> JSONResponse:
    """Answer a Problem."""
    return of_problem(cast(Problem, error))


async def on_store(_: Request, error: Exception) -> JSONResponse:
    """Answer that the store has nothing to give for now."""
    return of_store(error)


async def on_http(request: Request, error: Exception) -> Response:
    """Answer an unknown route or a wrong method, or which methods are right."""
    refused = cast(HTTPException, error)
    headers = dict(refused.headers or {})
    if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": f"{headers['Allow']}, OPTIONS"}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    code = HTTPStatus(refused.status_code).phrase.lower().replace(" ", "_")
    message = f"{refused.detail}: {request.method} {request.url.path}"
    return response(refused.status_code, code, message, headers)


async def on_bug(_: Request, __: Exception) -> JSONResponse:
    """Answer what nobody foresaw in what notes bugs; the server logs the traceback."""
    return of_bug()
