"""The batch job: raw files → SQL → features → model → scores → Redis."""

import os

# XGBoost's threads spin while they wait for each other, for a whole time slice where
# another process has a core: on two cores with one of them busy 100 trees took 11 to
# 22 s, with threads that sleep 3 to 6 s. OpenMP reads this once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
