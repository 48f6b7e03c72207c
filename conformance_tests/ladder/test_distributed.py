"""The loss of a batch that is split over replicas is that of the whole batch."""

from clip_core.errors import InputError
from conformance_tests.cases import full_inputs


def test_loss_of_the_global_batch(backend, base, model_of, compare):
    """Or the backend refuses to take the loss of a part for that of the whole."""
    inputs = full_inputs(base.config, 4, 4)
    try:
        got = backend.global_loss(model_of(base), inputs)
    except InputError as error:
        if "expected the whole batch, got a part of it" not in str(error):
            raise
    else:
        compare.close("loss", "two replicas", {"loss": got}, {"loss": base.oracle.outputs(inputs)["loss"]})
