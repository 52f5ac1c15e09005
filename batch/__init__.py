"""The batch job: raw files → SQL → features → model → scores → Redis."""

import os

# XGBoost's threads spin while they wait for each other. With one of two cores busy, 100
# trees took 11 to 22 s; with threads that sleep, 3 to 6 s. OpenMP reads this when it is
# loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
