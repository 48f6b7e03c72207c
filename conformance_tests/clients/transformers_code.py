"""transformers: its Trainer, pipelines and auto classes, with models of ours and of its own."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import accelerate
import numpy as np
import torch
import transformers
from PIL import Image

import clip_core
import clip_torch
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.migration import try_section
from conformance_tests.clients.trial import trial

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
_IS_4 = transformers.__version__.startswith("4.")
_ASKS = "it reads what only configurations of transformers have; clip_torch.hf has them"
_SETS = "Trainer sets a field of the configuration, and ours are frozen; clip_torch.hf has transformers'"
_NO_CONFIG = "it writes a configuration for a PreTrainedModel only; clip_torch.hf has such classes"


def _pairs() -> list[Any]:
    random, pairs = np.random.default_rng(0), []
    for length in (4, 7, 5, 9, 6, 8):
        ids = [49406, *random.integers(0, 400, length).tolist(), *[49407] * (11 - length)]
        pixels = random.normal(size=(3, 30, 30)).astype(np.float32)
        pairs.append({"input_ids": torch.tensor(ids), "pixel_values": torch.from_numpy(pixels)})
    return pairs


def _collated(pairs: list[Any]) -> Any:
    stacked = {name: torch.stack([pair[name] for pair in pairs]) for name in ("input_ids", "pixel_values")}
    return {**stacked, "return_loss": True}


def _trainer(library: ModuleType, checkpoint: Path, output: Path, **options: Any) -> Any:
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # keeps the precision of the last trainer
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    arguments = {"num_train_epochs": 2, "per_device_train_batch_size": 3, "per_device_eval_batch_size": 3, **options}
    trainer = transformers.Trainer(
        aligned(library.CLIPModel.from_pretrained(checkpoint)),
        transformers.TrainingArguments(
            output,
            learning_rate=1e-3,
            logging_steps=1,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            label_names=["input_ids"],
            **arguments,
        ),
        data_collator=_collated,
        train_dataset=_pairs(),
        eval_dataset=_pairs(),
        compute_metrics=_metrics,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _metrics(given: Any) -> dict[str, float]:
    return {"logit": float(np.abs(given.predictions[0]).mean()), "ids": float(np.mean(given.label_ids))}


def _losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _both(library: ModuleType, directory: Path, run: Any, **options: Any) -> Any:
    checkpoint = tiny_checkpoint(directory / "clip")
    homes = {"ours": library, "theirs": transformers}
    return [run(_trainer(home, checkpoint, directory / name, **options)) for name, home in homes.items()]


_STEPS = 2e-5
"""Of what follows from four steps of Adam: gradients are the same numbers but for the order of sums."""

for _library in (clip_torch, hf):
    _name = _library.__name__
    _frozen = None if _IS_4 or _library is hf else _SETS

    @trial(f"Trainer: train, evaluate, predict with compute_metrics, {_name}", within=_STEPS, fails=_frozen)
    def _(directory: Path, library: ModuleType = _library) -> Any:
        def run(trainer: Any) -> Any:
            trainer.train()
            metrics, predicted = trainer.evaluate(), trainer.predict(_pairs())
            scores = [metrics["eval_loss"], metrics["eval_logit"], predicted.metrics["test_ids"]]
            return [*_losses(trainer), *scores, *predicted.predictions[:4]]  # logits and embeddings

        return _both(library, directory, run, save_strategy="no")

    @trial(f"Trainer: gradient checkpointing with its keywords, {_name}", within=_STEPS, fails=_frozen)
    def _(directory: Path, library: ModuleType = _library) -> Any:
        options = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
        return _both(library, directory, lambda t: (t.train(), _losses(t))[1], save_strategy="no", **options)

    @trial(
        f"Trainer: bf16, {_name}", within=2e-2, fails=_frozen
    )  # transformers rounds logits to bfloat16, we keep float32
    def _(directory: Path, library: ModuleType = _library) -> Any:
        return _both(library, directory, lambda t: (t.train(), _losses(t))[1], save_strategy="no", bf16=True)

    @trial(f"Trainer: stopped after two steps and resumed, {_name}", within=_STEPS, fails=_frozen)
    def _(directory: Path, library: ModuleType = _library) -> Any:
        checkpoint = tiny_checkpoint(directory / "clip")

        def losses(home: ModuleType, output: Path) -> Any:
            _trainer(home, checkpoint, output, max_steps=4, save_steps=2).train()
            resumed = _trainer(home, checkpoint, output, max_steps=4, save_steps=2)
            resumed.train(resume_from_checkpoint=str(output / "checkpoint-2"))
            assert resumed.state.global_step == 4
            return [*_losses(resumed), resumed.evaluate()["eval_loss"]]

        return losses(library, directory / "ours"), losses(transformers, directory / "theirs")

    @trial(f"Trainer: save_model, then from_pretrained, {_name}", fails=_NO_CONFIG if _library is clip_torch else None)
    def _(directory: Path, library: ModuleType = _library) -> Any:
        trainer = _trainer(library, tiny_checkpoint(directory / "clip"), directory / "out", save_strategy="no")
        trainer.train()
        trainer.save_model(directory / "saved")
        again = transformers.CLIPModel.from_pretrained(directory / "saved")
        inputs = _collated(_pairs())
        trainer.model.eval()
        with torch.no_grad():
            return aligned(trainer.model)(**inputs).logits_per_text, aligned(again)(**inputs).logits_per_text

    @trial(
        f'pipeline("zero-shot-image-classification", model=...), {_name}',
        fails=_ASKS if _IS_4 and _library is clip_torch else None,
    )
    def _(directory: Path, library: ModuleType = _library) -> Any:
        return _scores(directory, library, transformers), _scores(directory, transformers, transformers)


@trial(
    'pipeline("zero-shot-image-classification") with our tokenizer and image processor, clip_torch.hf',
    fails="it takes single examples out of a batch by their number",
)
def _(directory: Path) -> Any:
    return _scores(directory, hf, clip_core), _scores(directory, transformers, transformers)


def _scores(directory: Path, models: ModuleType, preparing: ModuleType) -> list[float]:
    checkpoint = tiny_checkpoint(directory)
    pipeline = transformers.pipeline(
        "zero-shot-image-classification",
        model=aligned(models.CLIPModel.from_pretrained(checkpoint)),
        tokenizer=preparing.CLIPTokenizer.from_pretrained(checkpoint),
        image_processor=preparing.CLIPImageProcessor.from_pretrained(checkpoint),
    )
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (45, 60, 3), np.uint8))
    found = pipeline(picture, candidate_labels=["cat", "a red umbrella", "guitar"])
    return [answer["score"] for answer in sorted(found, key=lambda answer: answer["label"])]


@trial("AutoModel.register, then AutoModel.from_pretrained, clip_torch.hf")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)
    theirs = aligned(transformers.AutoModel.from_pretrained(checkpoint))
    transformers.AutoModel.register(transformers.CLIPConfig, hf.CLIPModel, exist_ok=True)
    ours = aligned(transformers.AutoModel.from_pretrained(checkpoint))
    transformers.AutoModel._model_mapping._extra_content.clear()
    assert type(ours) is hf.CLIPModel
    inputs = _collated(_pairs())
    return ours(**inputs).logits_per_text, theirs(**inputs).logits_per_text


@trial(  # features alone leave out padding and the last block's other tokens; transformers 5 returns these, too
    "features of texts and images, clip_torch.hf: of the tokens that count, sums in another order"
    if _IS_4
    else "features of texts and images, clip_torch.hf",
    within=1e-5 if _IS_4 else 0,
)
def _(directory: Path) -> Any:
    checkpoint, inputs = tiny_checkpoint(directory), _collated(_pairs())
    found = []
    for library in (hf, transformers):
        model = aligned(library.CLIPModel.from_pretrained(checkpoint))
        features = [model.get_text_features(inputs["input_ids"]), model.get_image_features(inputs["pixel_values"])]
        found.append(
            [type(each).__name__ for each in features] + [getattr(each, "pooler_output", each) for each in features]
        )
    return found


try_section("transformers 4, PyTorch" if _IS_4 else "transformers 5")
