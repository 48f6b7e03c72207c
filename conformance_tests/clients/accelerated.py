"""accelerate: prepare, dispatch and offload, and saving what it has moved, of models of ours and of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

import clip_torch
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.trial import trial


def _inputs() -> Any:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 400, (3, 9), generator=generator)
    ids[:, 7:] = 49407
    return {"input_ids": ids, "pixel_values": torch.randn(3, 3, 30, 30, generator=generator)}


for _library in (clip_torch, hf):
    _name = _library.__name__

    @trial(
        f"prepare, three steps, unwrap_model, save_pretrained(is_main_process=, save_function=), {_name}", within=1e-5
    )
    # after three steps: sums of gradients have another order
    def _(directory: Path, library: Any = _library) -> Any:
        checkpoint, found = tiny_checkpoint(directory / "clip"), []
        for home in (library, transformers):
            accelerator = accelerate.Accelerator(cpu=True)
            model = aligned(home.CLIPModel.from_pretrained(checkpoint)).train()
            model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1e-3))
            losses = []
            for _ in range(3):
                optimizer.zero_grad()
                loss = model(**_inputs(), return_loss=True).loss
                accelerator.backward(loss)
                optimizer.step()
                losses.append(loss)
            plain = accelerator.unwrap_model(model)
            plain.save_pretrained(
                directory / "saved", is_main_process=accelerator.is_main_process, save_function=accelerator.save
            )
            again = home.CLIPModel.from_pretrained(directory / "saved")
            assert torch.equal(again.text_projection.weight, plain.text_projection.weight)
            found.append(losses)
        return found

    @trial(f"cpu_offload, then save_pretrained, {_name}")
    def _(directory: Path, library: Any = _library) -> Any:
        checkpoint, found = tiny_checkpoint(directory / "clip"), []
        for home in (library, transformers):
            model = accelerate.cpu_offload(aligned(home.CLIPModel.from_pretrained(checkpoint)), "cpu")
            with torch.no_grad():
                found.append(model(**_inputs()).logits_per_text)
            if home is library:
                model.save_pretrained(directory / "saved")
                again = transformers.CLIPModel.from_pretrained(directory / "saved")
                first = transformers.CLIPModel.from_pretrained(checkpoint)
                assert all(torch.equal(*pair) for pair in zip(again.parameters(), first.parameters(), strict=True))
        return found

    @trial(f"dispatch_model with blocks on disk, {_name}")
    def _(directory: Path, library: Any = _library) -> Any:
        checkpoint, found = tiny_checkpoint(directory / "clip"), []
        for home in (library, transformers):
            model = aligned(home.CLIPModel.from_pretrained(checkpoint))
            blocks = {f"text_model.encoder.layers.{i}": "disk" if i % 2 else "cpu" for i in range(5)}
            rest = ("text_model.embeddings", "text_model.final_layer_norm", "vision_model", "logit_scale")
            places = {**blocks, **dict.fromkeys((*rest, "visual_projection", "text_projection"), "cpu")}
            model = accelerate.dispatch_model(
                model, places, main_device="cpu", offload_dir=directory / home.__name__, force_hooks=True
            )
            with torch.no_grad():
                found.append(model(**_inputs()).logits_per_text)
        return found

    @trial(f"infer_auto_device_map splits no block, {_name}")
    def _(directory: Path, library: Any = _library) -> Any:
        model = library.CLIPModel.from_pretrained(tiny_checkpoint(directory))
        places = accelerate.infer_auto_device_map(
            model, {"cpu": "150KB", "disk": "1GB"}, no_split_module_classes=list(model._no_split_modules)
        )
        assert [name for name in places if "layers." in name and name.count(".") > 3] == []
        assert {"cpu", "disk"} >= set(places.values())
