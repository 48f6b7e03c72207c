"""JAX compiles anew for every mistake, to compute once: it compiles sooner without optimisations."""

import os

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # before JAX comes
