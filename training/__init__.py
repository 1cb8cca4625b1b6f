"""How shards become models: stream, objectives, models, trainer, evaluation. Never imports Beam."""

import os

# libgomp reads this when torch is loaded. Its threads spin for milliseconds at each barrier, which
# costs little on an idle machine and nearly everything on a busy one: with eight jobs on two cores
# a step of the 1m preset took 7.0 s, with a short spin 1.4 s. Results do not depend on it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
