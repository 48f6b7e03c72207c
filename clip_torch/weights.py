"""Weights of the PyTorch models: how they are set and read, and the base class of the models."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from os import PathLike
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clip_core.checkpoint.lazy_weights import LazyWeights
from clip_core.checkpoint.mapping import MappedFiles
from clip_core.checkpoint.tensors import WEIGHT_DTYPES
from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.model_weights import Weights
from clip_core.pretrained import PretrainedModel
from clip_core.schemes import TORCH
from clip_core.vocabulary import changes_for
from clip_core.weights import mismatch_message
from clip_torch.layers import Attention
from clip_torch.mapped import MappedWeights
from clip_torch.vision_resnet import AttentionPooling

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def to_tensor(value: NDArray[Any]) -> Tensor:
    """A tensor in the memory of the array, or of a copy if its axes are not in order; bfloat16 keeps its bits."""
    ordered = np.asarray(value, order="C")
    if ordered.dtype == _BFLOAT16:
        return torch.from_numpy(ordered.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(ordered)


def to_array(tensor: Tensor) -> NDArray[Any]:
    """The values of a tensor as an array of their own; bfloat16 keeps its bits."""
    tensor = tensor.detach()
    if hasattr(tensor, "full_tensor"):  # a DTensor: gathers, so every process of its mesh has to come here
        tensor = tensor.full_tensor()
    tensor = tensor.to("cpu", copy=True).contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(_BFLOAT16)
    return tensor.numpy()


def torch_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """The dtype of that name; float32 for ``None``.

    Raises:
        InputTypeError: not a dtype for weights.
    """
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in ("float32", "bfloat16", "float16", "float64"):
        raise InputTypeError(f"dtype: expected float32, bfloat16, float16 or float64, got {dtype!r}.")
    return getattr(torch, name)


def in_place_of(held: Tensor, value: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The value as a parameter of that dtype; or as the running statistic that is held in the module.

    Statistics are float32 in half precision, and counters integers (`WeightSpec.dtype_in`).
    """
    if isinstance(held, nn.Parameter):
        return nn.Parameter(value.to(device, dtype))
    return value.to(device, torch.promote_types(dtype, torch.float32) if value.is_floating_point() else value.dtype)


class WithoutInitialValues(TorchFunctionMode):
    """Layers made inside draw no initial weights; on the meta device, too, torch would run Python for each."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def device_of(device_map: Any) -> torch.device:
    """The device that a ``device_map`` of transformers names.

    Raises:
        InputTypeError: it names none, or more than one.
        InputError: a device that is not there, or that holds no values.
    """
    wanted = device_map[""] if isinstance(device_map, Mapping) and set(device_map) == {""} else device_map
    if wanted == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    advice = "A CLIP lies on one device: 'cpu', 'cuda', 'cuda:1', a torch.device, a number, {'': device} or 'auto'."
    if isinstance(wanted, bool) or not isinstance(wanted, str | int | torch.device):
        raise InputTypeError(f"device_map: expected one device, got {device_map!r:.80}. {advice}")
    try:
        device = torch.device(wanted)
        there = torch.empty((), device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"device_map: got {device_map!r:.80}: {reason}. {advice}") from error
    if there.type == "meta":
        raise InputError("device_map: 'meta' holds no weights. Say: with torch.device('meta'): Model(config).")
    return device


class CLIPPreTrainedModel(PretrainedModel, nn.Module):
    """Base of the models.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, the default, ``"bfloat16"``, ``"float16"`` or ``"float64"``.
        weights: by their names in checkpoints, instead of seeded ones; copied.

    Raises:
        InputTypeError: ``config`` is of another class, no such dtype, or ``weights`` are no mapping to arrays.
        WeightMismatchError: ``weights`` are not those of the configuration.
    """

    scheme = TORCH
    _no_split_modules: ClassVar[list[str]] = [
        *("TextEmbeddings", "VisionEmbeddings", "EncoderLayer"),
        *("Bottleneck", "AttentionPooling"),
    ]
    to_array = staticmethod(to_array)
    mapped = MappedWeights()

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: torch.dtype | str | None = None,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        self.config = self.checked_config(config)
        device, dtype = torch.get_default_device(), torch_dtype(dtype)
        with torch.device("meta"), WithoutInitialValues():  # neither memory nor numbers for weights that are set next
            self.make_layers(self.config)
        for owner, leaf, value in self.initial_values(seed, weights):
            setattr(owner, leaf, in_place_of(getattr(owner, leaf), to_tensor(value), device, dtype))

    @classmethod
    def built(
        cls,
        config: Any,
        dtype: Any,
        weights: Weights,
        *,
        device_map: Any = None,
        attn_implementation: str | None = None,
        disable_mmap: bool = False,
    ) -> Any:
        """As `PretrainedModel.built`.

        Args:
            device_map: the one device of the model: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or another name, a
                `torch.device`, the number of an accelerator, ``{"": device}``, or ``"auto"``, the accelerator if there
                is one. torch's default device unless given.
            attn_implementation: as of `set_attn_implementation`.
            disable_mmap: read all weights into memory. Otherwise those that the model on the CPU can use as they lie in
                a file on a local disk stay there until it trains (`clip_torch.mapped`).
        """
        files = MappedFiles()
        with nullcontext() if device_map is None else device_of(device_map):
            if isinstance(weights, LazyWeights) and torch.get_default_device().type == "cpu" and not disable_mmap:
                weights, files = weights.mapped(WEIGHT_DTYPES[str(torch_dtype(dtype)).removeprefix("torch.")])
            model = cls(config, dtype=dtype, weights=weights)
        if files.sources:
            model.mapped = MappedWeights(files, [*model.parameters(), *model.buffers()])
            model.mapped.watch(model)
        model.set_attn_implementation(attn_implementation or "sdpa")
        return model.eval()

    @classmethod
    def as_arrays(cls, state_dict: Mapping[str, Any]) -> Weights:
        """A state dict of torch, or of arrays, as arrays."""
        if not isinstance(state_dict, Mapping):
            return state_dict
        return {name: to_array(value) if isinstance(value, Tensor) else value for name, value in state_dict.items()}

    def train(self, mode: bool = True) -> Any:
        """As of every module; weights that lie in a mapped file get memory of their own first."""
        if mode:
            self.mapped.copy()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What moves and casts all weights; of those that lie in a mapped file it asks first whether they are right."""
        self.mapped.check()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's

    def __getstate__(self) -> Any:
        """What is copied or pickled, after the same question."""
        self.mapped.check()
        return vars(self)

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Chooses how attention is computed; both differ by rounding only.

        Args:
            attn_implementation: ``"sdpa"``, torch's fused attention, except in calls with ``output_attentions``, since
                it tells no weights; or ``"eager"``, one operation after the other, always.

        Raises:
            InputError: another one.
        """
        if attn_implementation not in ("sdpa", "eager"):
            raise InputError(
                f"attn_implementation: expected 'sdpa' or 'eager', got {attn_implementation!r:.60}. "
                "'sdpa' uses flash kernels where torch has them for device, dtype and mask."
            )
        for module in self.modules():
            if isinstance(module, Attention | AttentionPooling):
                module.fused_attention = attn_implementation == "sdpa"

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *,
        is_main_process: bool = True,
        state_dict: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        """As `PretrainedModel.save_pretrained`.

        Where the weights are spread over processes (FSDP2's DTensors), all of them call this and the first one writes.

        Raises:
            WeightMismatchError: also where a weight that is not spread differs between processes.
        """
        spread = any(hasattr(parameter, "full_tensor") for parameter in self.parameters())
        if state_dict is not None or not spread:
            super().save_pretrained(save_directory, is_main_process=is_main_process, state_dict=state_dict, **keywords)
            return
        self.check_saveable()
        self.check_replicas()
        first = dist.get_rank() == 0
        values: dict[str, NDArray[Any]] = {}
        for name, value in self.named_weights().items():  # each is gathered by all processes, in this order
            if first:
                values[name] = value
        failure: list[Exception | None] = [None]
        if first:
            try:
                super().save_pretrained(save_directory, state_dict=values, **keywords)
            except Exception as error:  # every process raises it, rather than wait for the first one
                failure = [error]
        dist.broadcast_object_list(failure, src=0)
        if failure[0] is not None:
            raise failure[0]

    def check_replicas(self) -> None:
        """Compares what every process has whole, as the logit scale under FSDP2, whose gradients nobody averaged.

        Running statistics are each process's own; those of the first are saved, as `DistributedDataParallel` uses them.

        Raises:
            WeightMismatchError: they differ, so that none of them is the model that was trained.
        """
        specs = [spec for spec in self.weight_specs() if spec.is_parameter]
        found = {spec.name: self.parameter(*self.place(spec)[:2]) for spec in specs}
        own = {name: to_array(value).tobytes() for name, value in found.items() if not hasattr(value, "full_tensor")}
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, own)
        differing = [name for name in own if len({other[name] for other in everywhere}) > 1]
        if differing:
            problems = [f"+ {name} {list(found[name].shape)}: differs between processes" for name in differing]
            what = f"{type(self).__name__}.save_pretrained: nothing was written, each process has another model"
            advice = (
                "Average the gradients of what FSDP ignores, before training: "
                "parameter.register_hook(lambda gradient: all_reduce(gradient) or gradient / processes)."
            )
            raise WeightMismatchError(mismatch_message(problems, what, advice))

    def held_parameters(self) -> dict[str, Any]:
        """Parameters and persistent buffers, but for those that parametrization or pruning make weights from."""
        places = [self.scheme.place(spec)[:2] for spec in self.weight_specs()]
        pruned = {f"{owner}.{leaf}_{part}" for owner, leaf in places for part in ("orig", "mask")}
        parametrized = tuple(f"{owner}.parametrizations.{leaf}." for owner, leaf in places)
        return {
            name: value
            for name, value in self.state_dict(keep_vars=True).items()
            if f".{name}" not in pruned and name not in pruned and not name.startswith(parametrized)
        }

    def parameter(self, owner: nn.Module, leaf: str) -> Tensor:
        """The parameter of that name in a module; pruned as it is now, or from where accelerate keeps it.

        Raises:
            LookupError: it has no values.
        """
        if hasattr(owner, f"{leaf}_orig") and hasattr(owner, f"{leaf}_mask"):
            pruned: Tensor = getattr(owner, f"{leaf}_orig") * getattr(owner, f"{leaf}_mask")
            return pruned
        found: Tensor = getattr(owner, leaf)
        if not found.is_meta:
            return found
        hook = getattr(owner, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):  # several in a row, or one
            offloaded = getattr(each, "weights_map", None)
            if offloaded is not None:
                return torch.as_tensor(offloaded[leaf])
        raise LookupError("it lies on the meta device, which holds no values")

    def is_counted(self, parameter: Any) -> bool:
        return isinstance(parameter, nn.Parameter)

    def is_trainable(self, parameter: Any) -> bool:
        return parameter.requires_grad

    def set_table(self, layer: Any, table: NDArray[Any]) -> None:
        old = layer.weight
        value = to_tensor(table).to(old.device, old.dtype)
        layer.weight = nn.Parameter(value, requires_grad=old.requires_grad)
        layer.num_embeddings = len(table)

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Puts another token embedding in its place; the configuration's ``vocab_size`` follows.

        Raises:
            InputError: no text tower, or a table that does not fit it.
        """
        if not hasattr(self, "text_model"):
            raise InputError(f"{type(self).__name__} has no tokens.")
        config, shape = self.text_model.config, tuple(value.weight.shape)
        if len(shape) != 2 or shape[1] != config.hidden_size:
            raise InputError(f"expected an embedding [vocab, {config.hidden_size}], got {list(shape)}.")
        changes = changes_for(config, shape[0])
        self.text_model.embeddings.token_embedding = value
        self.change_text_config(changes)

    def enable_input_require_grads(self) -> None:
        """Makes what the input layers give need gradients, so that frozen ones do not end the backward pass."""
        self.disable_input_require_grads()
        self._input_hooks = [layer.register_forward_hook(_require_grad) for layer in self.input_layers()]

    def disable_input_require_grads(self) -> None:
        """Undoes `enable_input_require_grads`."""
        for hook in self.__dict__.pop("_input_hooks", ()):
            hook.remove()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype


def _require_grad(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.requires_grad_(True)
