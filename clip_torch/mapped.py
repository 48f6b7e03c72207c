"""Models whose weights lie in mapped files, as long as they only compute.

Loading then copies nothing. A private mapping is not safe to train in: where somebody cuts the file short, the kernel
drops what was written to the memory. So weights are copied into memory of their own before the first call that
gradients could go through, before ``train()``, before a ``state_dict()`` is handed out, and before the model is
compiled; and every other call asks first whether the file is still the one that was loaded (decision 39).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from clip_core.checkpoint.mapping import MappedFiles


class MappedWeights:
    """The weights of a model that lie in mapped files.

    Args:
        files: these.
        tensors: parameters and buffers that may lie in them.
    """

    def __init__(self, files: MappedFiles | None = None, tensors: Iterable[Tensor] = ()) -> None:
        self.files = MappedFiles() if files is None else files
        self.tensors = [weakref.ref(tensor) for tensor in tensors]
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:  # of a copy; its weights lie in memory of its own
        self.check()
        return MappedWeights, ()

    def watch(self, model: nn.Module) -> None:
        """Has calls of the model and of its parts, down to embeddings and encoder, and state dicts check or copy."""
        parts = [model, *model.children()]
        for module in dict.fromkeys([*parts, *(child for part in parts for child in part.children())]):
            module.register_forward_pre_hook(self.before_call)
            module.register_state_dict_pre_hook(self.before_state_dict)  # type: ignore[no-untyped-call]  # torch's

    def before_call(self, module: nn.Module, inputs: Any) -> None:
        """Checks the files, or copies the weights where gradients are on, or for compiled code, which does not ask."""
        if torch.compiler.is_compiling():
            self.before_compilation()
        if not self.files.sources:  # read after that, so that compiled code is for models without mapped weights alone
            return
        if torch.is_grad_enabled():
            self.copy()
        else:
            self.check()

    def before_compilation(self) -> None:
        """Copies the weights; torch's compiler calls it while it traces, and not again."""
        self.copy()

    # the mark that torch.compiler.assume_constant_result sets; that would import the compiler with this module
    before_compilation._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def before_state_dict(self, module: nn.Module, prefix: str, keep_vars: bool) -> None:
        """Copies the weights, since whoever gets them may write that file; checks where parameters are asked for."""
        if keep_vars:
            self.check()
        else:
            self.copy()

    def check(self) -> None:
        """Raises `CheckpointError` if a file was written to in which weights lie."""
        try:
            self.files.check()
        except OSError:
            if self.held():
                raise
            self.files = MappedFiles()

    def held(self) -> list[Tensor]:
        """The tensors that lie in a mapping still; not those that were moved, cast or replaced."""
        there = (reference() for reference in self.tensors)
        on_host = (tensor for tensor in there if tensor is not None and tensor.device.type == "cpu")
        return [tensor for tensor in on_host if self.files.holds(tensor.data_ptr())]

    def copy(self) -> None:
        """Gives every tensor memory of its own.

        Raises:
            CheckpointError: as `check`; nothing is changed, so the next call raises it, too.
        """
        with self.lock:  # of two that copy at once, the later would undo what the earlier one has trained since
            if self.files.sources:
                # Outside of inference mode and of transformations, where no copy is plain.
                with ThreadPoolExecutor(1) as outside:
                    try:
                        copied = outside.submit(self._copy)
                    except RuntimeError:  # no more threads, as at exit
                        with torch.inference_mode(False):
                            self._copy()
                    else:
                        copied.result()

    def _copy(self) -> None:
        self.check()
        copies = [(tensor, tensor.data.clone()) for tensor in self.held()]
        self.check()
        for tensor, own in copies:
            tensor.data = own
        self.files, self.tensors = MappedFiles(), []
