"""Read the alias `prod` without importing MLflow.

The import takes two seconds, most of the time of a run that finds nothing changed.
"""

import sqlite3
from contextlib import closing
from urllib.parse import quote

MODEL_NAME = "MovieLensXGB"
PROD = "prod"

QUERY = "select version from registered_model_aliases where name = ? and alias = ?"


def read(tracking_uri: str) -> str | None:
    """Return the version that `prod` names in the database of a local store.

    None means that only MLflow can answer: the store is a server, is missing, has no
    alias yet, or has an unknown schema.
    """
    scheme, _, path = tracking_uri.partition(":///")
    if scheme != "sqlite":
        return None
    try:
        address = f"file:{quote(path)}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = database.execute(QUERY, (MODEL_NAME, PROD)).fetchall()
    except sqlite3.Error:
        return None
    return str(rows[0][0]) if len(rows) == 1 else None
