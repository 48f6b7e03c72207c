"""Training under `tf.distribute`: the loss and the gradients of the global batch, as on one device.

Logical devices are made before TensorFlow starts, hence a process of its own.
"""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # compiles sooner
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 8)
from dataclasses import replace
from clip_core.config import CLIPConfig
from clip_core.tests import sizes
from clip_tf import TFCLIPModel

DISTINCT = CLIPConfig(
    text_config=replace(sizes.DISTINCT.text_config, num_hidden_layers=1),
    vision_config=replace(sizes.DISTINCT.vision_config, num_hidden_layers=1),
    projection_dim=18,
)

generator = np.random.default_rng(0)
ids = generator.integers(0, 58, (16, 5), dtype=np.int32)
ids[:, 3] = DISTINCT.text_config.eos_token_id
inputs = {"input_ids": ids, "pixel_values": generator.standard_normal((16, 3, 30, 30), dtype=np.float32)}

def built(strategy):
    with strategy.scope():
        model = TFCLIPModel(DISTINCT, seed=3)
        model.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    return model, [variable.numpy() for variable in model.weights]

def by_fit(strategy, count):
    model, before = built(strategy)
    data = {name: value[:count] for name, value in inputs.items()}
    loss = model.fit(data, batch_size=16, shuffle=False, verbose=0).history["loss"][0]
    return loss, [variable.numpy() - start for variable, start in zip(model.weights, before)]

def by_hand(strategy, count):
    model, before = built(strategy)
    dataset = tf.data.Dataset.from_tensors({name: value[:count] for name, value in inputs.items()}).unbatch().batch(16)

    def step(batch):
        with tf.GradientTape() as tape:
            loss = model(batch, return_loss=True, training=True).loss
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    batch = next(iter(strategy.experimental_distribute_dataset(dataset)))
    shares = tf.function(strategy.run)(step, args=(batch,))
    loss = float(strategy.reduce("SUM", shares, axis=None))
    return loss, [variable.numpy() - start for variable, start in zip(model.weights, before)]

def difference(found, wanted):
    scale = max(np.abs(update).max() for update in wanted)
    return float(max(np.abs(a - b).max() for a, b in zip(found, wanted)) / scale)

replicas = int(sys.argv[1])
strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(replicas)])
# 11 pairs are spread unevenly, and over fewer than 8 replicas
for loop, count in ((by_fit, 16), (by_fit, 11), (by_hand, 11)):
    wanted, updates = loop(tf.distribute.get_strategy(), count)
    loss, found = loop(strategy, count)
    worst = difference(found, updates)
    print(json.dumps({"loop": loop.__name__, "loss": abs(loss - wanted) / wanted, "updates": worst}))
"""


@pytest.mark.parametrize("replicas", [2, 4, 8])
def test_loss_and_updates_are_those_of_one_device(replicas):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(replicas)], capture_output=True, text=True, timeout=900, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [result["loop"] for result in found] == ["by_fit", "by_fit", "by_hand"]
    assert max(result["loss"] for result in found) <= 1e-6, found
    assert max(result["updates"] for result in found) <= 1e-5, found
