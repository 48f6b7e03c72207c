"""Mistakes in ResNet towers: strides, padding, batch normalisation and its statistics, the pooling."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from conformance_tests.meta.seeder import Defect, Seeder

LAYERS, STAGES, STATISTICS = "test_resnet_layers", "test_stages", "test_statistics"


def stride_without_pooling(s: Seeder) -> None:
    """Every second pixel, as the convolution of an ordinary ResNet takes it."""
    s.wrap(
        s.vision_resnet.Bottleneck,
        "pooled",
        lambda original, self, x: _even(x)[:, :, ::2, ::2] if self.stride > 1 else original(self, x),
    )


def maximum_pooled(s: Seeder) -> None:
    """As an ordinary ResNet's stem does."""
    s.patch.setattr(s.vision_resnet, "average_pool", lambda x: _even(x).unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)))


def padded_at_the_end(s: Seeder) -> None:
    """The stride begins one pixel later, as ``same`` padding of Keras and Flax lets it on images of even size."""
    numpy = s.numpy
    s.wrap(
        s.vision_resnet.VisionResNet,
        "stem",
        lambda original, self, x: original(self, numpy.nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))),
    )


def _even(x: Any) -> Any:
    """Without a last row or column that has no partner."""
    return x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]


def statistics_of_the_batch(s: Seeder) -> None:
    """In evaluation, too."""

    def call(original: Any, self: Any, x: Any) -> Any:
        before = self.training
        with s.vision_resnet.untracked(self):
            self.train()
            y = original(self, x)
        self.train(before)
        return y

    s.wrap_call(s.vision_resnet.BatchNorm, call)


def biased_running_variance(s: Seeder) -> None:
    """What normalises is kept."""

    def call(original: Any, self: Any, x: Any) -> Any:
        old, count = self.running_var.clone(), x.numel() // x.shape[1]
        y = original(self, x)
        if self.training:
            self.running_var.copy_(0.9 * old + (self.running_var - 0.9 * old) * (count - 1) / count)
        return y

    s.wrap_call(s.vision_resnet.BatchNorm, call)


def unbiased_normalisation(s: Seeder) -> None:
    """What is kept normalises."""

    def call(original: Any, self: Any, x: Any) -> Any:
        count = x.numel() // x.shape[1]
        bias = self.bias[:, None, None]
        y = original(self, x)
        return (y - bias) * ((count - 1) / count) ** 0.5 + bias if self.training else y

    s.wrap_call(s.vision_resnet.BatchNorm, call)


def constant_statistics(s: Seeder) -> None:
    """No gradient passes the mean and the variance of the batch."""

    def call(original: Any, self: Any, x: Any) -> Any:
        if not self.training:
            return original(self, x)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        original(self, x)
        normal = (x - s.stopped(mean)) / (s.stopped(variance) + self.eps) ** 0.5
        return normal * self.weight[:, None, None] + self.bias[:, None, None]

    s.wrap_call(s.vision_resnet.BatchNorm, call)


def rounded_steps(s: Seeder) -> None:
    """Every step of batch normalisation in the dtype of its input."""

    def call(original: Any, self: Any, x: Any) -> Any:
        mean, variance = (value.to(x.dtype)[:, None, None] for value in (self.running_mean, self.running_var))
        return (x - mean) / (variance + self.eps) ** 0.5 * self.weight[:, None, None] + self.bias[:, None, None]

    s.wrap_call(s.vision_resnet.BatchNorm, call)


def columns_first(s: Seeder) -> None:
    """Tokens of the last stage column by column."""

    def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        output = original(self, *args, **options)
        tokens = output.last_hidden_state
        side = self.config.patches_per_side
        turned = tokens.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)
        return output._replace(last_hidden_state=turned)

    s.wrap_call(s.vision_resnet.VisionResNet, call)


def narrow_statistics(s: Seeder) -> None:
    """In the dtype of the weights."""
    s.wrap(
        s.weights,
        "in_place_of",
        lambda original, held, value, device, dtype: (
            original(held, value, device, dtype).to(dtype)
            if value.is_floating_point() and "Parameter" not in type(held).__name__
            else original(held, value, device, dtype)
        ),
    )


def last_for_first(original: Any, self: Any, x: Any) -> Any:
    """Of several tokens, the last one in the place of the first."""
    return original(self, x[:, [-1, *range(1, x.shape[1])]] if x.shape[1] > 1 else x)


TORCH = ("torch",)
DEFECTS = {
    "stride without pooling": Defect(f"{STAGES}::test_bottleneck", stride_without_pooling, "resnet", TORCH),
    "maximum instead of average pooling": Defect(f"{LAYERS}::test_stem", maximum_pooled, "resnet", TORCH),
    "stem padded at the end only": Defect(f"{LAYERS}::test_stem", padded_at_the_end, "resnet", TORCH),
    "epsilon of Keras in batch normalisation": Defect(
        f"{LAYERS}::test_batch_norm",
        lambda s: s.patch.setattr(s.vision_resnet, "BATCH_NORM_EPS", 1e-3),
        "resnet",
    ),
    "running statistics ignored": Defect(f"{LAYERS}::test_batch_norm", statistics_of_the_batch, "resnet", TORCH),
    "mean token not attended to": Defect(
        f"{LAYERS}::test_attention_pooling",
        lambda s: s.wrap(s.vision_resnet.AttentionPooling, "split_heads", last_for_first),
        "resnet",
        TORCH,
    ),
    "positions of the pooling dropped": Defect(
        f"{LAYERS}::test_attention_pooling",
        lambda s: s.wrap(s.vision_resnet, "resampled_positions", lambda original, *args: original(*args) * 0),
        "resnet",
    ),
    "last hidden state column by column": Defect("test_towers::test_vision", columns_first, "resnet", TORCH),
    "new statistics weigh 0.9": Defect(
        f"{STATISTICS}::test_three_steps",
        lambda s: s.patch.setattr(s.vision_resnet, "BATCH_NORM_MOMENTUM", 0.9),
        "resnet",
        climbs=False,
    ),
    "biased variance is kept": Defect(
        f"{STATISTICS}::test_three_steps", biased_running_variance, "resnet", TORCH, climbs=False
    ),
    "unbiased variance normalises": Defect(
        f"{STATISTICS}::test_three_steps", unbiased_normalisation, "resnet", TORCH, climbs=False
    ),
    "no gradient through the batch's statistics": Defect(
        f"{STATISTICS}::test_three_steps", constant_statistics, "resnet", TORCH, climbs=False
    ),
    "recomputed blocks count twice": Defect(
        f"{STATISTICS}::test_three_steps",
        lambda s: s.patch.setattr(s.vision_resnet, "recomputed", lambda block: (nullcontext(), nullcontext())),
        "resnet",
        TORCH,
        climbs=False,
    ),
    "statistics narrowed": Defect(
        f"{STATISTICS}::test_statistics_are_not_narrowed", narrow_statistics, "resnet", TORCH
    ),
    "batch normalisation by rounded steps": Defect(
        "test_dtypes::test_batch_norm_is_rounded_once", rounded_steps, "resnet", TORCH
    ),
}
