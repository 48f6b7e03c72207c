"""How many threads the suite computes with, unless the environment says otherwise.

Its models are tiny: threads that wait for each other cost up to ten times what there is to compute.
"""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
