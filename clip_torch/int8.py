"""Dense layers in int8, for faster inference on a CPU."""

from __future__ import annotations

from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, nn

from clip_core.errors import InputError

_LEVELS = 127  # of a weight, on each side of zero


class Int8Linear(nn.Module):
    """A dense layer whose weight is int8, one scale for each output, and whose input is rounded to int8 in each call.

    The input has one scale for the whole batch, so that a row depends on its neighbours, within rounding.

    Args:
        layer: with a weight of float32, on the CPU.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()  # [out, in]
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny).double() / _LEVELS  # [out]
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with catch_warnings():  # quantised tensors are deprecated; their products have no equal in torch yet
            filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``, float32; NaN in all of it if ``x`` is not finite, where rounding hides that.

        ``x`` gets seven bits, so that the sums of no CPU overflow.
        """
        if not x.sum().isfinite():
            return x.new_full((*x.shape[:-1], self.out_features), torch.nan)
        result: Tensor = torch.ops.quantized.linear_dynamic(x, self.packed, reduce_range=True)
        return result

    @property
    def weight(self) -> Tensor:
        """What it computes with, ``[out, in]`` in float32."""
        rounded, _ = torch.ops.quantized.linear_unpack(self.packed)
        weight: Tensor = rounded.dequantize()
        return weight

    @property
    def bias(self) -> Tensor | None:
        """In float32."""
        _, bias = torch.ops.quantized.linear_unpack(self.packed)
        return None if bias is None else bias.detach()


def to_int8(model: nn.Module) -> None:
    """Puts `Int8Linear` in the place of the dense layers of all blocks; for inference.

    Embeddings, LayerNorms, attention, projections and a ResNet stay as they are.

    Args:
        model: of this package, with weights of float32 on the CPU.

    Raises:
        InputError: this build of torch has no products of int8.
    """
    for path, layer in list(model.named_modules()):
        if type(layer) is nn.Linear and ".encoder.layers." in path:
            owner, _, leaf = path.rpartition(".")
            try:
                setattr(model.get_submodule(owner), leaf, Int8Linear(layer))
            except (RuntimeError, AttributeError) as error:  # no engine for this processor, or no such operator
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"dtype: torch {torch.__version__} computes no int8 here: {reason} Take another dtype."
                ) from error
