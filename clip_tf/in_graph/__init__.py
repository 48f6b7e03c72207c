"""Texts and pictures inside the graph, for `tf.data` and SavedModel: TensorFlow's, whatever Keras runs on."""

from clip_core.errors import MissingExtraError

try:
    import tensorflow  # noqa: F401 - asked for here, where its absence gets a clear error
except ModuleNotFoundError:
    raise MissingExtraError("tensorflow", "tf", "clip_tf.in_graph") from None

from clip_tf.in_graph.images import TFCLIPImageProcessor
from clip_tf.in_graph.texts import TFCLIPTokenizer

__all__ = ["TFCLIPImageProcessor", "TFCLIPTokenizer"]
