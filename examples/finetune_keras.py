"""Teaches the model German words for the sample pictures by LoRA; Keras, on the framework of ``KERAS_BACKEND``."""

import sys

import keras
from PIL import Image

from clip_core import CLIPProcessor
from clip_tf import InBatchRecall, TFCLIPModel

CAPTIONS = {
    "apple": "ein Apfel",
    "banana": "eine Banane",
    "car": "ein Auto",
    "cat": "eine Katze",
    "guitar": "eine Gitarre",
    "mushroom": "ein Pilz",
    "snowman": "ein Schneemann",
    "umbrella": "ein Regenschirm",
}


def main(directory: str = "finetuned") -> None:
    keras.utils.set_random_seed(0)
    model = TFCLIPModel.from_pretrained("triclip-emoji")
    processor = CLIPProcessor.from_pretrained("triclip-emoji")
    images = [Image.open(f"triclip/samples/{name}.png") for name in CAPTIONS]
    pairs = processor(text=list(CAPTIONS.values()), images=images, padding=True, return_tensors="np")

    model.enable_lora(rank=4)  # of q_proj and v_proj in both towers; nothing else is trained
    metrics = {"logits_per_image": InBatchRecall(1, name="right")}
    model.compile(keras.optimizers.Adam(3e-3), metrics=metrics, jit_compile=False)

    def report(when: str) -> None:
        found = model.evaluate(pairs, batch_size=len(images), verbose=0, return_dict=True)
        print(f"{when}: loss {found['loss']:.2f}, {found['right']:.0%} of the pictures find their caption")

    report("before")
    model.fit(pairs, batch_size=len(images), epochs=30, verbose=0)
    report("after, on what it was trained on")

    model.save_pretrained(directory)  # LoRA merged: loads in every framework, and in transformers
    processor.save_pretrained(directory)
    print(f"saved: {directory}")


if __name__ == "__main__":
    main(*sys.argv[1:])
