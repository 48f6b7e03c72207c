"""peft: adapters of every kind that fits, on models of ours and of transformers; their weights cross over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
import transformers

import clip_torch
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.trial import trial

_TARGETS = ["q_proj", "v_proj", "fc1"]
_KINDS = {
    "LoRA": peft.LoraConfig(r=3, target_modules=_TARGETS),
    "DoRA": peft.LoraConfig(r=3, target_modules=_TARGETS, use_dora=True),
    "rsLoRA": peft.LoraConfig(r=3, target_modules=_TARGETS, use_rslora=True),
    "IA3": peft.IA3Config(target_modules=_TARGETS, feedforward_modules=["fc1"]),
    "LN tuning": peft.LNTuningConfig(target_modules=["layer_norm1", "layer_norm2"]),
}


def _inputs() -> Any:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 400, (3, 9), generator=generator)
    ids[:, 7:] = 49407
    return {"input_ids": ids, "pixel_values": torch.randn(3, 3, 30, 30, generator=generator)}


def _logits(model: Any) -> Any:
    with torch.no_grad():
        return aligned(model.eval())(**_inputs()).logits_per_text


def _drawn(model: Any) -> Any:
    """Gives the adapter values by its weights' names: the order of modules is not ours to choose."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad and any(part in name for part in ("lora_A", "lora_B", "ia3_l")):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + ("ia3_l" in name))
    return model


for _library in (clip_torch, hf):
    for _kind, _config in _KINDS.items():

        @trial(f"{_kind}: a step, its weights in the other's model, {_library.__name__}", within=1e-4)
        # after a step of training: sums of gradients have another order, and the logit scale is 14
        def _(directory: Path, library: Any = _library, config: Any = _config) -> Any:
            checkpoint = tiny_checkpoint(directory / "clip")
            logits = []
            for home in (library, transformers):
                model = _drawn(peft.get_peft_model(aligned(home.CLIPModel.from_pretrained(checkpoint)), config))
                model.train()(**_inputs(), return_loss=True).loss.backward()
                torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01).step()
                logits.append(_logits(model))
                if home is library:
                    model.save_pretrained(directory / "adapter")
            other = peft.PeftModel.from_pretrained(
                transformers.CLIPModel.from_pretrained(checkpoint), directory / "adapter"
            )
            assert float((_logits(other) - logits[0]).abs().max()) <= 1e-5, "the adapter does not cross"
            return logits

    @trial(f"LoRA merged, saved by save_pretrained, loaded by transformers, {_library.__name__}")
    def _(directory: Path, library: Any = _library) -> Any:
        checkpoint = tiny_checkpoint(directory / "clip")
        model = _drawn(peft.get_peft_model(library.CLIPModel.from_pretrained(checkpoint), _KINDS["LoRA"]))
        model = model.merge_and_unload()
        model.save_pretrained(directory / "merged")
        return _logits(model), _logits(transformers.CLIPModel.from_pretrained(directory / "merged"))


@trial("add_adapter, save_pretrained, load_adapter, clip_torch.hf")
def _(directory: Path) -> Any:
    checkpoint, logits = tiny_checkpoint(directory / "clip"), []
    for library in (hf, transformers):
        model = aligned(library.CLIPModel.from_pretrained(checkpoint))
        model.add_adapter(_KINDS["LoRA"])
        _drawn(model)
        model.save_pretrained(directory / library.__name__)
        again = aligned(library.CLIPModel.from_pretrained(checkpoint))
        before = _logits(again)
        again.load_adapter(str(directory / library.__name__))
        assert not torch.equal(before, _logits(again))
        logits += [[_logits(model), _logits(again)]]
    return logits


@trial("a task type that passes inputs_embeds: FEATURE_EXTRACTION", fails="transformers' CLIP takes none either")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)
    config = peft.LoraConfig(r=3, target_modules=_TARGETS, task_type="FEATURE_EXTRACTION")
    model = peft.get_peft_model(clip_torch.CLIPModel.from_pretrained(checkpoint), config)
    model(**_inputs())
