"""Which pages of others may ask, said as everything else is."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from lookup.http import errors


class CrossOrigin(CORSMiddleware):
    """Starlette's, whose refusals have the form of all errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser that asks whether it may ask."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        told = {
            name: value
            for name, value in answer.headers.items()
            if name == "vary" or name.startswith("access-control-")
        }
        said = bytes(answer.body).decode()
        return errors.response(422, "invalid_request", said, told)
