"""Run `python -m batch`."""

import os
import sys
import traceback

from batch.cli import main
from batch.scoring import warm_up

if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    if warm_up.is_running():  # it may crash if the interpreter ends before it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
