"""The table of published models beside the package that it is made from: `clip_core/published/*.json`.

    python -m conformance_tests.parity.published_models [--package DIR] [--python ENV/bin/python] [--write]

Without ``--package`` the wheel of open_clip_torch is downloaded, without its dependencies, and read: its model
configurations and ``pretrained.py``, which need no torch. With ``--python``, an interpreter that has open_clip_torch
installed, the parameters of each architecture are counted in open_clip's own model, on torch's meta device. Every row
is compared with the table that is there, and what is left out is listed with the reason; ``--write`` writes the table
anew. Ends with exit code 1 if something differs.

What the package does not know stands here, each with its source: OpenAI's and others' repositories of the hub, models
of others, licences.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click

PACKAGE, VERSION = "open_clip_torch", "3.3.0"
TABLE = Path(__file__).parents[2] / "clip_core" / "published"
VOCABULARY = 49408
_VISION = {"image_size": 224, "layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16}
_TEXT = {"context_length": 77, "vocab_size": VOCABULARY, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}
OPENAI_NAMES = {
    "ViT-B-32": "ViT-B/32",
    "ViT-B-16": "ViT-B/16",
    "ViT-L-14": "ViT-L/14",
    "ViT-L-14-336": "ViT-L/14@336px",
}
"""What OpenAI's clip.load calls them; its ResNets have one name in both."""
MORE_HUBS = {  # the same weights in the layout of Hugging Face, by OpenAI and by Meta
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
    "ViT-B-32/metaclip_400m": "facebook/metaclip-b32-400m",
    "ViT-B-32/metaclip_fullcc": "facebook/metaclip-b32-fullcc2.5b",
    "ViT-B-16/metaclip_400m": "facebook/metaclip-b16-400m",
    "ViT-B-16/metaclip_fullcc": "facebook/metaclip-b16-fullcc2.5b",
    "ViT-L-14/metaclip_400m": "facebook/metaclip-l14-400m",
    "ViT-L-14/metaclip_fullcc": "facebook/metaclip-l14-fullcc2.5b",
    "ViT-H-14/metaclip_fullcc": "facebook/metaclip-h14-fullcc2.5b",
}
WRONG_HUBS = {
    "ViT-B-16-plus-240/laion400m_e32": "the package names the repository of laion400m_e31 for it",
}
LICENCES = {  # as timm 1.0.31 has them for the same weights, and OpenAI's repository for its own
    "openai": "mit",
    "laion400m_e31": "mit",
    "laion400m_e32": "mit",
    "dfn": "apple-ascl",
    "metaclip": "cc-by-nc-4.0",
}
_REMOTE = {"preprocessing": "openai", "activation": "gelu", "note": "gelu, as its README loads it"}
_LONG = {"preprocessing": "openai", "activation": "quick_gelu", "note": "positions in two tables, folded into one"}
OTHERS: list[dict[str, Any]] = [  # model cards of the repositories; RemoteCLIP's and Long-CLIP's README and code
    {
        "name": "geolocal/StreetCLIP",
        "architecture": "ViT-L-14-336",
        "activation": "quick_gelu",
        "preprocessing": "openai",
        "source": {"hub": "geolocal/StreetCLIP"},
        "licence": "cc-by-nc-4.0",
    },
    {
        "name": "patrickjohncyh/fashion-clip",
        "architecture": "ViT-B-32",
        "activation": None,
        "preprocessing": "openai",
        "source": {"hub": "patrickjohncyh/fashion-clip"},
        "licence": "mit",
        "note": "the activation is what its config.json says: its card names another origin than its first version had",
    },
    *(
        {
            "name": f"RemoteCLIP/{architecture}",
            "architecture": architecture,
            **_REMOTE,
            "source": {"hub": "chendelong/RemoteCLIP", "file": f"RemoteCLIP-{architecture}.pt"},
        }
        for architecture in ("RN50", "ViT-B-32", "ViT-L-14")
    ),
    *(
        {
            "name": f"LongCLIP-{size}",
            "architecture": f"LongCLIP-{size}",
            **_LONG,
            "source": {"hub": f"BeichenZhang/LongCLIP-{size}", "file": f"longclip-{size}.pt"},
        }
        for size in ("B", "L")
    ),
]
LONG = {"LongCLIP-B": "ViT-B-16", "LongCLIP-L": "ViT-L-14"}
LONG_CONTEXT = 248


def architecture_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """What `clip_core.CLIPConfig` calls the sizes of a model configuration of open_clip, without the activation."""
    vision, text = {**_VISION, **described["vision_cfg"]}, {**_TEXT, **described["text_cfg"]}
    wide = vision["width"]
    if isinstance(vision["layers"], list):
        tower = {
            "stage_depths": vision["layers"],
            "hidden_size": wide * 32,
            "num_attention_heads": wide * 32 // vision["head_width"],
            "image_size": vision["image_size"],
            "patch_size": 32,
        }
    else:
        tower = {
            "hidden_size": wide,
            "intermediate_size": int(wide * vision["mlp_ratio"]),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": wide // vision["head_width"],
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "layer_norm_eps": 1e-5,
        }
    return {
        "projection_dim": described["embed_dim"],
        "vision_config": tower,
        "text_config": {
            "vocab_size": text["vocab_size"],
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text["mlp_ratio"]),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "layer_norm_eps": 1e-5,
        },
    }


def why_left_out(described: Mapping[str, Any]) -> str:
    """Why a model configuration of open_clip is not of this graph; nothing, if it is."""
    text = described["text_cfg"]
    unusual = [key for key in described if key not in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")]
    if "multimodal_cfg" in unusual:
        return "CoCa: a decoder beside the towers"
    for part, known in (("vision_cfg", _VISION), ("text_cfg", _TEXT)):
        for key in ("timm_model_name", "hf_model_name"):
            if described[part].get(key):
                return f"another tower: {key} {described[part][key]}"
        unusual += [f"{part}.{key}" for key in described[part] if key not in known]
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        unusual.append(f"a vocabulary of {text['vocab_size']}")
    return f"another graph: {', '.join(unusual)}" if unusual else ""


def read_package(package: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Model configurations and pretrained tags of open_clip, without its dependencies."""
    files = sorted((package / "model_configs").glob("*.json"))
    configs = {file.stem: json.loads(file.read_text()) for file in files}
    alone = ModuleType("open_clip")
    alone.__path__ = [str(package)]
    sys.modules["open_clip"] = alone
    found: dict[str, dict[str, Any]] = importlib.import_module("open_clip.pretrained")._PRETRAINED
    return configs, found


def make_table(package: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, str], dict[str, str]]:
    """Architectures and rows, and the reasons of what is left out: configurations, and models with their tags."""
    configs, pretrained = read_package(package)
    reasons = {name: why_left_out(described) for name, described in configs.items()}
    plain = {name: described for name, described in configs.items() if not reasons[name]}
    architectures = {
        name: architecture_of(described) for name, described in plain.items() if not name.endswith("-quickgelu")
    }
    for name, described in plain.items():  # the name of an architecture and a word
        assert architecture_of(described) == architectures[name.removesuffix("-quickgelu")], name
        assert described.get("quick_gelu", False) == name.endswith("-quickgelu"), name
    for name, base in LONG.items():
        text = {**architectures[base]["text_config"], "max_position_embeddings": LONG_CONTEXT}
        architectures[name] = {**architectures[base], "text_config": text}
    rows, left = [], {}
    for model, tags in pretrained.items():
        if reasons[model]:
            left[model] = f"{', '.join(tags)}: {reasons[model]}"
        elif not model.endswith("-quickgelu"):
            rows += [_row(model, tag, found) for tag, found in tags.items()]
    return architectures, [*rows, *OTHERS], {name: why for name, why in reasons.items() if why}, left


def _row(model: str, tag: str, found: Mapping[str, Any]) -> dict[str, Any]:
    name = OPENAI_NAMES.get(model, model) if tag == "openai" else f"{model}/{tag}"
    hub, url = found["hf_hub"].rstrip("/"), found["url"]
    assert hub.count("/") == 1, hub
    places: list[dict[str, Any]] = []
    if name not in WRONG_HUBS:
        places.append({"hub": hub, "layout": "open_clip"})
    if url:
        places.append({"url": url, **_digest(url)})
    if tag == "openai":
        places.reverse()  # its own file, whose digest is published
    places += [{"hub": MORE_HUBS[name]}] if name in MORE_HUBS else []
    if name not in WRONG_HUBS and not hub.startswith("timm/"):  # there other files are of timm's models
        places.append({"hub": hub})
    licence = next((says for part, says in LICENCES.items() if part in tag), None)
    row = {
        "name": name,
        "architecture": model,
        "activation": "quick_gelu" if found.get("quick_gelu") else "gelu",
        "preprocessing": _preprocessing_name(found),
        "source": places[0],
        **({"also": places[1:]} if places[1:] else {}),
        **({"licence": licence} if licence else {}),
    }
    if name in WRONG_HUBS:
        row["note"] = f"from its address: {WRONG_HUBS[name]}"
    return row


def _digest(url: str) -> dict[str, str]:
    """What an address says of the SHA-256 of its file: OpenAI's all of it, open_clip's the first eight digits."""
    match = re.search(r"/([0-9a-f]{64})/", url) or re.search(r"-([0-9a-f]{8})\.pth?$", url)
    return {"sha256": match[1]} if match else {}


PREPROCESSING = {
    "openai": {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
    "half": {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
    "openai-squash": {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


def _preprocessing_name(found: Mapping[str, Any]) -> str:
    described = {
        "image_mean": list(found["mean"]),
        "image_std": list(found["std"]),
        "interpolation": found["interpolation"],
        "resize_mode": found["resize_mode"],
    }
    return next(name for name, known in PREPROCESSING.items() if known == described)


_COUNT = """
import json, logging, sys, torch, open_clip
logging.disable(logging.CRITICAL)
counts = {}
for name in json.load(sys.stdin):
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, device="meta")
    counts[name] = sum(parameter.numel() for parameter in model.parameters())
json.dump([open_clip.__version__, counts], sys.stdout)
"""


def count_parameters(python: Path, names: list[str]) -> dict[str, int]:
    """Parameters of architectures in open_clip's own models; running statistics of batch norms are none."""
    done = subprocess.run([python, "-c", _COUNT], input=json.dumps(names), capture_output=True, text=True, check=True)
    version, counts = json.loads(done.stdout)
    assert version == VERSION, version
    found: dict[str, int] = counts
    return found


def downloaded(folder: Path) -> Path:
    """The package out of its wheel."""
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", f"{PACKAGE}=={VERSION}", "-d", folder]
    subprocess.run(download, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder / "open_clip"


def dump_table(architectures: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, str]:
    """The two files: one architecture and one row a line."""

    def lines(items: list[str]) -> str:
        return ",\n    ".join(items)

    made_from = json.dumps(f"{PACKAGE} {VERSION}")
    listed = lines([f"{json.dumps(name)}: {json.dumps(found)}" for name, found in architectures.items()])
    known = lines([f"{json.dumps(name)}: {json.dumps(found)}" for name, found in PREPROCESSING.items()])
    return {
        "architectures.json": f'{{\n  "made_from": {made_from},\n  "architectures": {{\n    {listed}\n  }}\n}}\n',
        "models.json": f'{{\n  "made_from": {made_from},\n  "preprocessing": {{\n    {known}\n  }},\n'
        f'  "models": [\n    {lines([json.dumps(row) for row in rows])}\n  ]\n}}\n',
    }


def differences(made: Mapping[str, Any], there: Mapping[str, Any], what: str) -> list[str]:
    """What differs between two mappings, key by key."""
    return [
        f"{what} {key}: expected {made.get(key)}, got {there.get(key)}"
        for key in {**made, **there}
        if made.get(key) != there.get(key)
    ]


@click.command()
@click.option("--package", type=click.Path(exists=True, file_okay=False, path_type=Path), help="open_clip's folder.")
@click.option("--python", type=click.Path(exists=True, path_type=Path), help="Counts parameters in its open_clip.")
@click.option("--write", is_flag=True, help="Write the table anew; needs --python.")
def main(package: Path | None, python: Path | None, write: bool) -> None:
    """Compare the table of published models with open_clip_torch."""
    with tempfile.TemporaryDirectory() as folder:
        architectures, rows, configs_left, tags_left = make_table(package or downloaded(Path(folder)))
    there = json.loads((TABLE / "architectures.json").read_text())["architectures"] if not write else {}
    own = [name for name in architectures if name not in LONG]
    if python:
        counts = count_parameters(python, own)
    else:
        counts = {name: there[name]["parameters"] for name in own if name in there}
    for name, base in LONG.items():
        more = LONG_CONTEXT - _TEXT["context_length"]
        counts[name] = counts[base] + more * architectures[base]["text_config"]["hidden_size"]
    described = {name: {"parameters": counts.get(name), **found} for name, found in architectures.items()}
    files = dump_table(described, rows)
    if write:
        if not python:
            raise click.UsageError("--write needs --python, which counts the parameters.")
        for name, text in files.items():
            (TABLE / name).write_text(text)
    wrong = differences(described, there, "architecture") if not write else []
    models = json.loads((TABLE / "models.json").read_text())
    listed = {row["name"]: row for row in models["models"]}
    wrong += differences({row["name"]: row for row in rows}, listed, "model")
    wrong += differences(PREPROCESSING, models["preprocessing"], "preprocessing")
    counted = f", parameters of {len(own)} counted in its models" if python else ""
    click.echo(f"{PACKAGE} {VERSION}: {len(architectures)} architectures, {len(rows)} models compared{counted}")
    click.echo(f"Left out, {len(configs_left)} configurations:")
    for name, why in configs_left.items():
        click.echo(f"  {name}: {why}")
    click.echo(f"Left out, tags of {len(tags_left)} models:")
    for name, why in tags_left.items():
        click.echo(f"  {name}: {why}")
    for line in wrong:
        click.echo(f"! {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
