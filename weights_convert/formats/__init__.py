"""The formats: one record per file. To add one, write its file and a line here (see ``docs/adding.md``)."""

from weights_convert.formats.hf_flax import HF_FLAX
from weights_convert.formats.hf_tf import HF_TF
from weights_convert.formats.hf_torch import HF
from weights_convert.formats.keras import KERAS
from weights_convert.formats.keras_hub import KERAS_HUB
from weights_convert.formats.nnx import NNX
from weights_convert.formats.open_clip import OPEN_CLIP
from weights_convert.formats.openai import OPENAI

FORMATS = {format_.name: format_ for format_ in (HF, OPENAI, OPEN_CLIP, HF_TF, HF_FLAX, KERAS_HUB, KERAS, NNX)}
"""Every format by the name that ``--to`` has for it."""
