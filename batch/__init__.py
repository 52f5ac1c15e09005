"""The batch job: raw files → SQL → features → model → scores → Redis."""

import os

import lookup  # noqa: F401 - ends here on Windows
from batch.machine import limits

# Libraries read these when they are loaded. XGBoost's threads spin while they wait for
# each other. With one of two cores busy, 100 trees took 11 to 22 s; with threads that
# sleep, 3 to 6 s.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# XGBoost and Arrow would count the cores of the machine
os.environ.setdefault("OMP_NUM_THREADS", str(limits.cores()))
# The last bits of numpy's solutions depend on the number of threads, and then lists may
# too. One thread takes no longer for matrices of our size.
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[name] = "1"
