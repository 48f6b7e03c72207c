"""Settings and fixtures of these tests."""

import jax
import numpy as np
import pytest

from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel

jax.config.update("jax_disable_most_optimizations", True)  # the tests compile much and compute little


@pytest.fixture(scope="module")
def model():
    return FlaxCLIPModel(DISTINCT, seed=3)


@pytest.fixture(scope="module")
def inputs():
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 58, (3, 9))
    ids[:, 6] = DISTINCT.text_config.eos_token_id
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    pixels = generator.standard_normal((3, 3, 30, 30), np.float32)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": mask}


@pytest.fixture(scope="session")
def assert_same():
    """Compares two outputs or trees leaf by leaf; exactly with ``atol=0``."""

    def compare(output, expected, atol=1e-5):
        assert jax.tree.structure(output) == jax.tree.structure(expected)
        for got, wanted in zip(jax.tree.leaves(output), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), atol=atol, rtol=1e-4 if atol else 0)

    return compare
