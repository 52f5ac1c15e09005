"""The API: reads what the batch wrote into Redis and answers over HTTP."""

import sys

if sys.platform == "win32":  # before imports of what Windows lacks
    sys.exit(
        "error: MovieLens-XGB runs on Linux and macOS only; "
        "on Windows, run it in WSL or in Docker"
    )
