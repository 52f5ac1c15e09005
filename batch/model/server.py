"""Ask an MLflow server which version it is."""

import re

from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from batch.errors import BatchError
from lookup.shared.env import without_password

OLDEST = 3
"""The first major version that has logged models, which a version consists of."""


def check(tracking_uri: str) -> None:
    """Check that a server is new enough; any other store passes.

    A proxy may answer something else at `/version`, which proves nothing.

    Raises:
        BatchError: the server is too old.
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return
    credentials = get_default_host_creds(tracking_uri)  # type: ignore[no-untyped-call]
    response = http_request(credentials, "/version", "GET")  # type: ignore[no-untyped-call]
    found = re.fullmatch(r"([0-9]{1,4})\.[0-9A-Za-z.+-]{1,40}", response.text.strip())
    if response.ok and found and int(found[1]) < OLDEST:
        raise BatchError(
            f"the MLflow server at {without_password(tracking_uri)} is version "
            f"{found[0]}, expected {OLDEST} or newer: upgrade it (pip install "
            f"'mlflow>={OLDEST}', then mlflow db upgrade), or name another store in "
            "MLFLOW_TRACKING_URI"
        )
