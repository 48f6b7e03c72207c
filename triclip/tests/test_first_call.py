"""What the first call costs: how many programs are compiled before the first answer. A process for each framework."""

import subprocess
import sys

CLASSIFY = """
import triclip
from triclip.tests.encode_samples import SAMPLES
encoder = triclip.load("triclip-emoji", {backend!r}, "cpu")
def classify():
    encoder.logits(encoder.encode_images(SAMPLES[0]), encoder.encode_labels(["cat", "dog", "umbrella"]))
"""


def printed(backend: str, before: str, after: str) -> list[str]:
    """The lines that a program prints, which has the function ``classify``."""
    program = "\n".join([before, CLASSIFY.format(backend=backend), after])
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()


def test_jax_compiles_two_programs_for_the_first_picture() -> None:
    """One for each tower; each operation of its own would be another, and take as long as a hundred pictures."""
    before = """
from jax import monitoring
events = []
"""
    after = """
monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: events.append(event))
classify()
print(sum(event == "/jax/core/compile/backend_compile_duration" for event in events))
"""
    assert printed("flax", before, after) == ["2"]


def test_tensorflow_traces_no_graph_for_the_first_picture() -> None:
    before = """
import tensorflow as tf
from clip_tf import TFCLIPModel
def recording(name, original):
    def call(self, *arguments):
        print(name, "graph" if tf.inside_function() else "eager")
        return original(self, *arguments)
    return call
for name in ("get_image_features", "get_text_features"):
    setattr(TFCLIPModel, name, recording(name[4:-9], getattr(TFCLIPModel, name)))
"""
    lines = printed("tf", before, "classify(); classify(); classify()")
    assert lines == ["image", "eager", "text", "eager", "image", "graph", "text", "graph"]
