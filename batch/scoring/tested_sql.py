"""What the compiled scorer was tested with: the SQL of the features, and their names.

The kernels compute in their own way what the SQL defines, and assume how the tables
that they read are computed. So any edit of these could make them answer wrongly. A file
next to this one holds the digests of what they were tested with, cell by cell; `python
-m tests.renew_digest` tests them again and renews it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from batch import warehouse
from batch.features import columns, tables

FILE = Path(__file__).with_name("tested_sql.json")

COLUMNS = "batch/features/columns.py"


def digests() -> dict[str, str]:
    """Return file → digest of all that decides what both scorers compute."""
    scorer = [m for m in warehouse.ON_DEMAND if m.startswith("marts/scorer_")]
    names = {name: value for name, value in vars(columns).items() if name.isupper()}
    text = repr(sorted(names.items()))  # their order decides what a kernel fills
    return {
        **tables.digests(*tables.FEATURES, *scorer),
        COLUMNS: hashlib.sha256(text.encode()).hexdigest(),
    }


def read() -> Mapping[str, str]:
    """Return file → digest as of the last test; nothing where it is lost or damaged."""
    try:
        found: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # such as a merge that was not resolved
        return {}
    return found


def untested() -> list[str]:
    """Return the files that the compiled scorer was not tested with as they are."""
    tested, current = read(), digests()
    names = sorted(tested.keys() | current.keys())
    return [name for name in names if tested.get(name) != current.get(name)]
