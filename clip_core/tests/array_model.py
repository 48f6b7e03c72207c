"""A backend that is made of NumPy arrays and nothing else."""

from types import SimpleNamespace

import numpy as np

from clip_core.config import CLIPConfig, CLIPTextConfig
from clip_core.initialization import draw_weights
from clip_core.pretrained import PretrainedModel
from clip_core.schemes import KERAS
from clip_core.tests.sizes import DISTINCT

WEIGHTS = dict(draw_weights(DISTINCT, seed=3))


class ArrayModel(PretrainedModel):
    """Parameters are attributes of namespaces, in the layout of Keras."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True
    scheme = KERAS

    def __init__(self, config, *, seed=0, dtype=None, weights=None):
        self.config = self.checked_config(config)
        self.make_layers(config)
        for owner, leaf, value in self.initial_values(seed, weights):
            setattr(owner, leaf, np.array(value, dtype or np.float32))

    def make_layers(self, config):
        for spec in self.weight_specs():
            owner = self
            for step in self.scheme.place(spec)[0].split(".") if self.scheme.place(spec)[0] else []:
                owner = owner.__dict__.setdefault(step, Numbered())

    @staticmethod
    def to_array(parameter):
        return parameter

    def held_parameters(self):
        return dict(arrays_in(self, ""))


def arrays_in(module, prefix):
    for name, value in vars(module).items():
        if isinstance(value, np.ndarray):
            yield f"{prefix}{name}", value
        elif isinstance(value, Numbered):
            yield from arrays_in(value, f"{prefix}{name}.")


class Numbered(SimpleNamespace):
    """A module that is also a list of modules."""

    def __getitem__(self, index):
        return getattr(self, str(index))


class TextArrayModel(ArrayModel):
    config_class = CLIPTextConfig
    architecture = "CLIPTextModel"
    has_projection = False


def assert_same(weights, others):
    assert list(weights) == list(others)
    for name, value in others.items():
        np.testing.assert_array_equal(weights[name], value)
