"""The loss of a batch that is split over replicas is that of the whole batch."""

import pytest

from clip_core.errors import InputError
from conformance_tests.cases import full_inputs


def test_loss_of_the_global_batch(backend, base, model_of, compare):
    """Or a backend that says so refuses to take the loss of a part for that of the whole."""
    inputs = full_inputs(base.config, 4, 4)
    if getattr(backend, "REFUSES_PARTS", False):
        with pytest.raises(InputError, match="expected the whole batch, got a part of it"):
            backend.global_loss(model_of(base), inputs)
        return
    got = backend.global_loss(model_of(base), inputs)
    compare.close("loss", "two replicas", {"loss": got}, {"loss": base.oracle.outputs(inputs)["loss"]})
