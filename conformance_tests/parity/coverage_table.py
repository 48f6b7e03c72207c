"""Is everything there that the documentation page of CLIP names?

    python -m conformance_tests.parity.coverage_table

Prints a Markdown table of its 20 classes and 24 methods, and of the classes that make the three backends symmetric:
whether each exists, and which documented arguments (those of transformers 4.57) its signature lacks. Each package is
imported in a process of its own. Ends with exit code 1 if anything is missing.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from typing import Any, NamedTuple

_TOWER = "projection_dim num_hidden_layers num_attention_heads hidden_act layer_norm_eps attention_dropout"
_TOWER = f"hidden_size intermediate_size {_TOWER} initializer_range initializer_factor"
_FLAGS = "output_attentions output_hidden_states return_dict"
_TEXT = "input_ids attention_mask position_ids"
_BOTH = f"input_ids pixel_values attention_mask position_ids {_FLAGS} return_loss interpolate_pos_encoding"
_SPECIAL = "errors unk_token bos_token eos_token pad_token"
_IMAGE = "do_resize size resample do_center_crop crop_size do_rescale rescale_factor do_normalize image_mean image_std"
_LINEN = "params dropout_rng train"

DOCUMENTED: dict[str, dict[str, str]] = {  # package -> class or method -> documented arguments
    "clip_core": {
        "CLIPConfig": "text_config vision_config projection_dim logit_scale_init_value",
        "CLIPConfig.from_text_vision_configs": "text_config vision_config",
        "CLIPTextConfig": f"vocab_size max_position_embeddings {_TOWER} pad_token_id bos_token_id eos_token_id",
        "CLIPVisionConfig": f"{_TOWER} num_channels image_size patch_size",
        "CLIPTokenizer": f"vocab_file merges_file {_SPECIAL}",
        "CLIPTokenizer.build_inputs_with_special_tokens": "token_ids_0 token_ids_1",
        "CLIPTokenizer.get_special_tokens_mask": "token_ids_0 token_ids_1 already_has_special_tokens",
        "CLIPTokenizer.create_token_type_ids_from_sequences": "token_ids_0 token_ids_1",
        "CLIPTokenizer.save_vocabulary": "save_directory filename_prefix",
        "CLIPTokenizerFast": f"vocab_file merges_file tokenizer_file {_SPECIAL.removeprefix('errors ')}",
        "CLIPImageProcessor": f"{_IMAGE} do_convert_rgb",
        "CLIPImageProcessor.preprocess": f"images {_IMAGE} do_convert_rgb return_tensors data_format input_data_format",
        "CLIPFeatureExtractor": f"{_IMAGE} do_convert_rgb",
        "CLIPProcessor": "image_processor tokenizer",
    },
    "clip_torch": {
        "CLIPModel": "config",
        "CLIPModel.forward": _BOTH,
        "CLIPModel.get_text_features": _TEXT,
        "CLIPModel.get_image_features": "pixel_values interpolate_pos_encoding",
        "CLIPTextModel": "config",
        "CLIPTextModel.forward": f"{_TEXT} {_FLAGS}",
        "CLIPTextModelWithProjection": "config",
        "CLIPTextModelWithProjection.forward": f"{_TEXT} {_FLAGS}",
        "CLIPVisionModelWithProjection": "config",
        "CLIPVisionModelWithProjection.forward": f"pixel_values {_FLAGS} interpolate_pos_encoding",
        "CLIPVisionModel": "config",
        "CLIPVisionModel.forward": f"pixel_values {_FLAGS} interpolate_pos_encoding",
    },
    "clip_tf": {
        "TFCLIPModel": "config",
        "TFCLIPModel.call": f"{_BOTH} training",
        "TFCLIPModel.get_text_features": f"{_TEXT} training",
        "TFCLIPModel.get_image_features": "pixel_values training",
        "TFCLIPTextModel": "config",
        "TFCLIPTextModel.call": f"{_TEXT} {_FLAGS} training",
        "TFCLIPVisionModel": "config",
        "TFCLIPVisionModel.call": f"pixel_values {_FLAGS} training",
    },
    "clip_flax": {
        "FlaxCLIPModel": "config seed dtype",
        "FlaxCLIPModel.__call__": f"{_BOTH} {_LINEN}",
        "FlaxCLIPModel.get_text_features": f"{_TEXT} {_LINEN}",
        "FlaxCLIPModel.get_image_features": f"pixel_values {_LINEN}",
        "FlaxCLIPTextModel": "config seed dtype",
        "FlaxCLIPTextModel.__call__": f"{_TEXT} {_FLAGS} {_LINEN}",
        "FlaxCLIPTextModelWithProjection": "config seed dtype",
        "FlaxCLIPTextModelWithProjection.__call__": f"{_TEXT} {_FLAGS} {_LINEN}",
        "FlaxCLIPVisionModel": "config seed dtype",
        "FlaxCLIPVisionModel.__call__": f"pixel_values {_FLAGS} {_LINEN}",
    },
}
SYMMETRIC: dict[str, dict[str, str]] = {  # what the page lacks of one framework though it has it of another
    "clip_tf": {
        "TFCLIPTextModelWithProjection": "config",
        "TFCLIPTextModelWithProjection.call": f"{_TEXT} {_FLAGS} training",
        "TFCLIPVisionModelWithProjection": "config",
        "TFCLIPVisionModelWithProjection.call": f"pixel_values {_FLAGS} interpolate_pos_encoding training",
        "TFCLIPVisionModel.call": "interpolate_pos_encoding",
        "TFCLIPModel.get_image_features": "interpolate_pos_encoding",
    },
    "clip_flax": {
        "FlaxCLIPVisionModelWithProjection": "config seed dtype",
        "FlaxCLIPVisionModelWithProjection.__call__": f"pixel_values {_FLAGS} interpolate_pos_encoding {_LINEN}",
        "FlaxCLIPVisionModel.__call__": "interpolate_pos_encoding",
        "FlaxCLIPModel.get_image_features": "interpolate_pos_encoding",
    },
}
LEFT_OUT = {
    "output_attentions output_hidden_states return_dict of TFCLIPModel.get_text_features and get_image_features": (
        "they change nothing: the methods return one tensor"
    ),
}
"""Documented arguments that are not asked for here, and why."""


class Row(NamedTuple):
    """A line of the table."""

    package: str
    name: str
    documented: bool
    exists: bool
    lacking: list[str]


def rows_of(package: str) -> list[Row]:
    """The lines of a package, which is imported."""
    module = import_module(package)
    return [
        Row(package, name, table is DOCUMENTED, *_look(module, name, arguments.split()))
        for table in (DOCUMENTED, SYMMETRIC)
        for name, arguments in table.get(package, {}).items()
    ]


def _look(module: Any, name: str, arguments: list[str]) -> tuple[bool, list[str]]:
    owner, _, method = name.partition(".")
    found = getattr(module, owner, None)
    if method and found is not None:
        found = getattr(found, method, None)
    if found is None:
        return False, arguments
    called = found.__init__ if inspect.isclass(found) else found
    return True, [argument for argument in arguments if argument not in inspect.signature(called).parameters]


def all_rows() -> list[Row]:
    """The lines of every package, each looked at in a process of its own."""
    found = []
    for package in DOCUMENTED:
        command = [sys.executable, "-m", "conformance_tests.parity.coverage_table", package]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found += [Row(*row) for row in json.loads(done.stdout.splitlines()[-1])]
    return found


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = ["| package | name | on the page | exists | documented arguments |", "|---|---|---|---|---|"]
    for row in rows:
        lacking = f"lacks {', '.join(row.lacking)}" if row.lacking else "all"
        page, there = ("yes" if row.documented else "added here"), ("yes" if row.exists else "**no**")
        lines.append(f"| `{row.package}` | `{row.name}` | {page} | {there} | {lacking} |")
    page = [row for row in rows if row.documented]
    methods = sum("." in row.name for row in page)
    missing = sum(not row.exists or bool(row.lacking) for row in rows)
    lines.append(
        f"\n{len(page) - methods} classes and {methods} methods of the page; {missing} lines with something missing."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(rows_of(sys.argv[1])))
    else:
        table = all_rows()
        print(markdown(table))
        for arguments, reason in LEFT_OUT.items():
            print(f"Not asked for: {arguments}: {reason}.")
        raise SystemExit(any(not row.exists or row.lacking for row in table))
