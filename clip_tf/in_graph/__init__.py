"""Texts and pictures inside the graph, for `tf.data` and SavedModel: TensorFlow's, whatever Keras runs on."""

from clip_core.errors import MissingExtraError

try:
    from clip_tf.in_graph.images import TFCLIPImageProcessor
    from clip_tf.in_graph.texts import TFCLIPTokenizer
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":
        raise
    raise MissingExtraError("tensorflow", "tf", "clip_tf.in_graph") from None

__all__ = ["TFCLIPImageProcessor", "TFCLIPTokenizer"]
