"""The loss of a batch that is split over replicas is that of the whole batch."""

from conformance_tests.cases import full_inputs


def test_loss_of_the_global_batch(backend, base, model_of, compare):
    inputs = full_inputs(base.config, 4, 4)
    got = backend.global_loss(model_of(base), inputs)
    compare.close("loss", "two replicas", {"loss": got}, {"loss": base.oracle.outputs(inputs)["loss"]})
