"""OpenAI's ``.pt`` files: TorchScript archives, as they were published, and plain state dicts, which are read only.

``clip.load`` infers the model from the weights: heads of 64, quick_gelu, an MLP four times as wide, square images of
whole patches. A model that is not like that would compute wrong numbers there, so it is refused. What is written is a
TorchScript archive, since ``clip.load`` of openai-clip 1.0.1 takes nothing else: it reads a state dict from the end of
the file, where its first attempt left off.
"""

from __future__ import annotations

from pathlib import Path

from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError
from clip_core.weights import WeightSpec
from weights_convert.containers.opened import Container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.model import Files, Format, Model, has_names, require_full
from weights_convert.tables import Place, foreign_names, shared_names

HEAD_DIM = 64
CONFIG_INSIDE = "config.json"
"""Name of the configuration that travels inside the archives that are written here; OpenAI's loader skips it."""
_IGNORED = ("input_resolution", "context_length", "vocab_size")  # sizes that TorchScript archives store as tensors
_TOP = {
    "logit_scale": ("logit_scale", None),
    "text_projection": ("text_projection", "in out"),
    "visual_projection": ("visual.proj", "in out"),
    "text_model.embeddings.token_embedding": ("token_embedding.weight", None),
    "text_model.embeddings.position_embedding": ("positional_embedding", None),
    "vision_model.embeddings.class_embedding": ("visual.class_embedding", None),
    "vision_model.embeddings.patch_embedding": ("visual.conv1.weight", None),
    "vision_model.embeddings.position_embedding": ("visual.positional_embedding", None),
}
_MODULES = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layernorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.encoder.layers": "transformer.resblocks",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_FUSED = ("q_proj", "k_proj", "v_proj")  # the rows of in_proj, in this order


def openai_place(spec: WeightSpec) -> Place:
    """Where OpenAI's and open_clip's state dicts keep a weight."""
    if spec.path in _TOP:
        return Place(*_TOP[spec.path])
    owner, _, module = spec.path.rpartition(".")
    leaf = "bias" if spec.kind.endswith("bias") else "weight"
    if module in _FUSED:
        attention = _translated(owner.removesuffix(".self_attn")) + ".attn"
        return Place(f"{attention}.in_proj_{leaf}", part=(_FUSED.index(module), len(_FUSED)))
    return Place(f"{_translated(spec.path)}.{leaf}")


def _translated(path: str) -> str:
    for shared, theirs in _MODULES.items():
        path = path.replace(shared, theirs)
    return path


def has_openai_names(container: Container) -> bool:
    """Whether the names are those of OpenAI's model, without any prefix."""
    return has_names(container, "ln_final.weight", "visual.class_embedding")


def _recognises(container: Container) -> bool:
    plain = container.kind == "torch" and not container.path.name.startswith("open_clip")
    return has_openai_names(container) and (plain or container.kind == "torchscript")


def _read(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    found, rest = shared_names(openai_place, container.tensors)
    return found, {
        name: tensor for name, tensor in rest.items() if name not in _IGNORED and not name.endswith("attn_mask")
    }


def pools_at_largest_id(config: CLIPTextConfig) -> bool:
    """Whether the end of a text is where the largest id is, the only rule that OpenAI's and Keras Hub's models have."""
    return config.eos_token_id in (2, config.vocab_size - 1)


def _check(model: Model) -> None:
    config = require_full(model, "OpenAI")
    text, vision = config.text_config, config.vision_config
    expected = {
        "text_config.eos_token_id": (pools_at_largest_id(text), "2 or the largest id"),
        "vision_config.num_channels": (vision.num_channels == 3, "3"),
        "vision_config.image_size": (vision.image_size % vision.patch_size == 0, "a multiple of patch_size"),
    }
    for name, tower in (("text_config", text), ("vision_config", vision)):
        expected.update({f"{name}.{key}": rule for key, rule in _tower_rules(tower).items()})
    wrong = [f"{key}: expected {rule}" for key, (holds, rule) in expected.items() if not holds]
    if wrong:
        raise InputError(
            f"OpenAI: its loader infers the model from the weights and would get this one wrong ({'; '.join(wrong)}). "
            "Convert it to open_clip, which stores a configuration."
        )


def _tower_rules(tower: CLIPTextConfig | CLIPVisionConfig) -> dict[str, tuple[bool, str]]:
    width = tower.hidden_size
    return {
        "num_attention_heads": (tower.num_attention_heads * HEAD_DIM == width, f"hidden_size / {HEAD_DIM}"),
        "hidden_act": (tower.hidden_act == "quick_gelu", "quick_gelu"),
        "intermediate_size": (tower.intermediate_size == 4 * width, "4 * hidden_size"),
        "layer_norm_eps": (tower.layer_norm_eps == 1e-5, "1e-5"),
    }


def _write(model: Model, path: Path, max_shard_size: int) -> None:
    inside = {CONFIG_INSIDE: model.config_text().encode(), **model.files}
    write_torchscript(path, foreign_names(openai_place, model.specs, model.weights), inside)


def _read_files(path: Path) -> Files:
    return {}  # what travels inside the archive is read with it


OPENAI = Format(
    name="openai",
    title="OpenAI",
    recognises=_recognises,
    read=_read,
    config_files=("open_clip_config.json",),  # beside open_clip's checkpoints of one GPU, which have OpenAI's names
    write=_write,
    check=_check,
    read_files=_read_files,
    is_file=True,
)
