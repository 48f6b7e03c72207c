"""`python -m pretraining`: from registry packages to the embedded checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pretraining.dataset import Drawn
from pretraining.evaluate import CHECKPOINT
from pretraining.export import export, make_tokenizer
from pretraining.fetch import CACHE, fetch_all
from pretraining.recipe import RECIPE
from pretraining.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=CHECKPOINT, help="where the checkpoint goes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--compile", action="store_true", help="a quarter faster, with a C++ compiler at hand")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fetch_all()
    tokenizer = make_tokenizer()
    data = Drawn(RECIPE, lambda texts: tokenizer(texts)["input_ids"])
    export(train(RECIPE, data, CACHE / "training.pt", compiled=arguments.compile), arguments.output)


if __name__ == "__main__":
    main()
