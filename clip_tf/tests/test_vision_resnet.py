"""Running statistics of a ResNet tower in Keras: `fit`, frozen layers, policies, and every file that keeps them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.config import CLIPVisionConfig
from clip_tf import TFCLIPVisionModelWithProjection

CONFIG = CLIPVisionConfig(
    stage_depths=(1, 2, 1, 1), hidden_size=128, num_attention_heads=4, image_size=64, projection_dim=18
)
PIXELS = np.random.default_rng(0).standard_normal((4, 3, 64, 64)).astype(np.float32)
TARGETS = np.random.default_rng(1).standard_normal((4, 18)).astype(np.float32)


def made(**options):
    return TFCLIPVisionModelWithProjection(CONFIG, seed=3, **options)


@pytest.fixture(scope="module")
def fitted():
    """After a step of `fit`."""
    model = made()
    model.compile(keras.optimizers.SGD(0.1), loss={"image_embeds": "mse"}, jit_compile=False)
    model.fit(PIXELS, {"image_embeds": TARGETS}, batch_size=4, verbose=0)
    return model


def convert(source, destination, **options):
    """By the command: models do not know the converter."""
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "weights_convert", "convert", source, destination, *given], check=True)


def norm_of(model):
    return model.vision_model.layer2[1].bn2


def same(got, expected):
    for name, value in expected.named_weights().items():
        np.testing.assert_array_equal(got.named_weights()[name], value, err_msg=name)


def test_fit_counts_each_batch_once_and_by_torch_s_rule(fitted):
    by_hand = made()
    seen = []
    by_hand.vision_model.bn1.track = lambda mean, unbiased: seen.append((mean, unbiased))
    by_hand(PIXELS, training=True)
    ((mean, unbiased),) = seen
    norm = fitted.vision_model.bn1
    assert int(norm.num_batches_tracked) == int(norm_of(fitted).num_batches_tracked) == 1
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * unbiased, rtol=1e-4)
    assert (
        fitted.num_parameters()
        == made().num_parameters()
        == sum(np.prod(spec.shape) for spec in fitted.weight_specs() if spec.is_parameter)
    )
    positions = fitted.vision_model.attnpool.positional_embedding
    assert fitted.num_parameters() - fitted.num_parameters(exclude_embeddings=True) == np.prod(positions.shape)


def test_a_frozen_layer_keeps_its_statistics_as_everywhere_in_keras():
    model = made()
    model.vision_model.trainable = False
    evaluated = model(PIXELS).image_embeds
    np.testing.assert_allclose(model(PIXELS, training=True).image_embeds, evaluated, rtol=1e-5)
    assert int(norm_of(model).num_batches_tracked) == 0


def test_every_file_keeps_them(fitted, tmp_path):
    fitted.save(tmp_path / "model.keras")
    same(keras.saving.load_model(tmp_path / "model.keras", compile=False), fitted)
    fitted.save_weights(tmp_path / "model.weights.h5")
    other = made()
    other.load_weights(tmp_path / "model.weights.h5")
    same(other, fitted)
    path = tf.train.Checkpoint(model=fitted).write(str(tmp_path / "checkpoint"))
    other = made()
    tf.train.Checkpoint(model=other).read(path).assert_existing_objects_matched()
    same(other, fitted)
    fitted.export(str(tmp_path / "saved"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))  # owns the variables: it must outlive the call
    served = loaded.serve({"pixel_values": PIXELS})
    np.testing.assert_allclose(served["image_embeds"], fitted(PIXELS).image_embeds, rtol=1e-4, atol=1e-5)


def test_the_converter_reads_and_writes_keras_files(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "hf")
    made(weights=fitted.named_weights()).save_weights(tmp_path / "model.weights.h5")  # without an optimizer
    convert(tmp_path / "model.weights.h5", tmp_path / "back", to="hf", config=tmp_path / "hf/config.json")
    written = (tmp_path / "hf/model.safetensors").read_bytes()
    assert (tmp_path / "back/model.safetensors").read_bytes() == written
    convert(tmp_path / "hf", tmp_path / "keras", to="keras")
    other = made()
    other.load_weights(tmp_path / "keras/model.weights.h5")
    same(other, fitted)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_statistics_are_float32_in_every_policy(policy):
    model = made(dtype=policy)
    output = model(PIXELS, training=True).image_embeds
    assert output.dtype == policy.removeprefix("mixed_")
    norm = norm_of(model)
    assert norm.moving_mean.dtype == norm.moving_variance.dtype == "float32"
    assert np.isfinite(norm.moving_variance).all()
    assert int(norm.num_batches_tracked) == 1


def test_replicas_keep_the_mean_of_what_each_saw():
    """Means are those of the whole batch, variances the mean of those within each half: as TensorFlow's own layer."""
    code = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from clip_tf.vision_resnet import BatchNorm
x = np.random.default_rng(0).standard_normal((4, 3, 5, 2)).astype(np.float32)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    norm = BatchNorm(2, name="norm")
halves = strategy.experimental_distribute_values_from_function(
    lambda context: x[context.replica_id_in_sync_group * 2 :][:2]
)
strategy.run(tf.function(lambda x: norm(x, training=True)), args=(halves,))
expected = np.mean([half.var((0, 1, 2), ddof=1) for half in (x[:2], x[2:])], axis=0)
np.testing.assert_allclose(norm.moving_mean.numpy(), 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
np.testing.assert_allclose(norm.moving_variance.numpy(), 0.1 * expected, rtol=1e-5)
assert norm.num_batches_tracked.numpy() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
