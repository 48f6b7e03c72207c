"""diffusers: pipelines of dummy parts around encoders of ours and of transformers, and their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

import clip_core
import clip_torch
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.trial import trial

diffusers.logging.set_verbosity_error()
diffusers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()

_PROMPT = "a photo of a cat sitting on a red chair"
_BOTH = (clip_torch, transformers)
"""Where the models come from; with ours come our tokenizer and image processor."""
_ASKED = (hf, transformers)
"""Where they come from for code that asks whether they are of transformers."""


def _seeded(kind: Any, **fields: Any) -> Any:
    torch.manual_seed(0)
    return kind(**fields).eval()


def _part(library: Any, name: str, checkpoint: Path) -> Any:
    home = library if hasattr(library, name) else clip_core
    return aligned(getattr(home, name).from_pretrained(checkpoint))


def _autoencoder(**fields: Any) -> Any:
    down, up = ["DownEncoderBlock2D"] * 2, ["UpDecoderBlock2D"] * 2
    return _seeded(
        diffusers.AutoencoderKL,
        **{
            "block_out_channels": [32, 64],
            "down_block_types": down,
            "up_block_types": up,
            "latent_channels": 4,
            **fields,
        },
    )


def _unet(**fields: Any) -> Any:
    return _seeded(
        diffusers.UNet2DConditionModel,
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **{"cross_attention_dim": 32, **fields},
    )


def _pictures(pipeline: Any, **call: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    given = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "np", "generator": generator, **call}
    result = pipeline(**given)
    return np.asarray(result.frames if hasattr(result, "frames") else result.images)


def stable_diffusion(library: Any, checkpoint: Path, **parts: Any) -> Any:
    """Stable Diffusion with the text encoder and the tokenizer of a library."""
    return diffusers.StableDiffusionPipeline(
        unet=_unet(),
        vae=_autoencoder(),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        **{
            "text_encoder": _part(library, "CLIPTextModel", checkpoint),
            "tokenizer": _part(library, "CLIPTokenizer", checkpoint),
            "safety_checker": None,
            "feature_extractor": None,
            **parts,
        },
    )


@trial("Stable Diffusion, negative prompt")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)
    return [
        _pictures(stable_diffusion(library, checkpoint), prompt=_PROMPT, negative_prompt="blurry") for library in _BOTH
    ]


for _skip in (1, 2, 4):

    @trial(f"Stable Diffusion, clip_skip={_skip}")
    def _(directory: Path, skip: int = _skip) -> Any:
        checkpoint = tiny_checkpoint(directory)
        return [_pictures(stable_diffusion(library, checkpoint), prompt=_PROMPT, clip_skip=skip) for library in _BOTH]


@trial("Stable Diffusion XL, both text encoders")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)

    def pictures(library: Any) -> Any:
        pipeline = diffusers.StableDiffusionXLPipeline(
            unet=_unet(
                cross_attention_dim=64,
                attention_head_dim=(2, 4),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                transformer_layers_per_block=(1, 2),
                projection_class_embeddings_input_dim=6 * 8 + 24,
            ),
            vae=_autoencoder(),
            scheduler=diffusers.EulerDiscreteScheduler(),
            text_encoder=_part(library, "CLIPTextModel", checkpoint),
            text_encoder_2=_part(library, "CLIPTextModelWithProjection", checkpoint),
            tokenizer=_part(library, "CLIPTokenizer", checkpoint),
            tokenizer_2=_part(library, "CLIPTokenizer", checkpoint),
            add_watermarker=False,
        )
        return _pictures(pipeline, prompt=_PROMPT, negative_prompt="blurry")

    return [pictures(library) for library in _BOTH]


@trial("Stable Diffusion 3, two CLIP encoders")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)

    def pictures(library: Any) -> Any:
        pipeline = diffusers.StableDiffusion3Pipeline(
            transformer=_seeded(
                diffusers.SD3Transformer2DModel,
                sample_size=16,
                patch_size=1,
                in_channels=4,
                out_channels=4,
                num_layers=1,
                attention_head_dim=8,
                num_attention_heads=4,
                caption_projection_dim=32,
                joint_attention_dim=64,
                pooled_projection_dim=48,
            ),
            vae=_autoencoder(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            text_encoder=_part(library, "CLIPTextModelWithProjection", checkpoint),
            text_encoder_2=_part(library, "CLIPTextModelWithProjection", checkpoint),
            text_encoder_3=None,
            tokenizer=_part(library, "CLIPTokenizer", checkpoint),
            tokenizer_2=_part(library, "CLIPTokenizer", checkpoint),
            tokenizer_3=None,
        )
        return _pictures(pipeline, prompt=_PROMPT, negative_prompt="blurry")

    return [pictures(library) for library in _BOTH]


@trial("Flux, the pooled text")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)
    t5 = transformers.T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4)

    def pictures(library: Any) -> Any:
        pipeline = diffusers.FluxPipeline(
            transformer=_seeded(
                diffusers.FluxTransformer2DModel,
                patch_size=1,
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                axes_dims_rope=[4, 4, 8],
            ),
            vae=_autoencoder(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            text_encoder=_part(library, "CLIPTextModel", checkpoint),
            tokenizer=_part(library, "CLIPTokenizer", checkpoint),
            text_encoder_2=_seeded(transformers.T5EncoderModel, config=t5),
            tokenizer_2=_words(),
        )
        return _pictures(pipeline, prompt=_PROMPT, max_sequence_length=16)

    return [pictures(library) for library in _BOTH]


def _words() -> Any:
    """A tokenizer for T5, which is not what is tried."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 2, "cat": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")


def _picture() -> Any:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8))


def _with_image_encoder(library: Any, checkpoint: Path) -> Any:
    return stable_diffusion(
        library,
        checkpoint,
        image_encoder=_part(library, "CLIPVisionModelWithProjection", checkpoint),
        feature_extractor=_part(library, "CLIPImageProcessor", checkpoint),
    )


@trial("IP-Adapter")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)

    def pictures(library: Any) -> Any:
        pipeline = _with_image_encoder(library, checkpoint)
        pipeline.unet._load_ip_adapter_weights([_ip_adapter(pipeline.unet)])
        return _pictures(pipeline, prompt=_PROMPT, ip_adapter_image=_picture())

    return [pictures(library) for library in _BOTH]


def _ip_adapter(unet: Any) -> Any:
    """Weights of an adapter for images of 24 numbers and text of 32, as `load_ip_adapter` reads them from a file."""
    generator, weights = torch.Generator().manual_seed(1), {}
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(crossing):
        width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("to_k_ip", "to_v_ip"):
            weights[f"{2 * number + 1}.{part}.weight"] = torch.randn(width, 32, generator=generator)
    projection = {"proj.weight": torch.randn(4 * 32, 24, generator=generator), "proj.bias": torch.zeros(4 * 32)}
    return {
        "ip_adapter": weights,
        "image_proj": {**projection, "norm.weight": torch.ones(32), "norm.bias": torch.zeros(32)},
    }


@trial("IP-Adapter Plus: the image's last hidden states but one")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)
    return [
        list(_with_image_encoder(library, checkpoint).encode_image(_picture(), "cpu", 1, output_hidden_states=True))
        for library in _BOTH
    ]


@trial("Stable Video Diffusion")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory, vision={"image_size": 224, "patch_size": 32})

    def pictures(library: Any) -> Any:
        pipeline = diffusers.StableVideoDiffusionPipeline(
            unet=_seeded(
                diffusers.UNetSpatioTemporalConditionModel,
                block_out_channels=(32, 64),
                layers_per_block=1,
                sample_size=16,
                in_channels=8,
                out_channels=4,
                down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                cross_attention_dim=24,
                num_attention_heads=(2, 4),
                projection_class_embeddings_input_dim=96,
                addition_time_embed_dim=32,
            ),
            vae=_seeded(
                diffusers.AutoencoderKLTemporalDecoder,
                block_out_channels=[32, 64],
                down_block_types=["DownEncoderBlock2D"] * 2,
                latent_channels=4,
            ),
            scheduler=diffusers.EulerDiscreteScheduler(prediction_type="v_prediction"),
            image_encoder=_part(library, "CLIPVisionModelWithProjection", checkpoint),
            feature_extractor=_part(library, "CLIPImageProcessor", checkpoint),
        )
        return _pictures(pipeline, image=_picture(), num_frames=2, decode_chunk_size=2)

    return [pictures(library) for library in _BOTH]


def _loaded(library: Any, checkpoint: Path, saved: Path) -> Any:
    """A pipeline as transformers' parts were saved, but with the text encoder and tokenizer of a library."""
    if not saved.exists():
        stable_diffusion(transformers, checkpoint).save_pretrained(saved)
    parts = {"text_encoder": "CLIPTextModel", "tokenizer": "CLIPTokenizer"}
    given = {part: _part(library, name, checkpoint) for part, name in parts.items()}
    return diffusers.StableDiffusionPipeline.from_pretrained(saved, **given)


@trial(
    "from_pretrained(text_encoder=...), clip_torch", fails="diffusers asks isinstance; clip_torch.hf has such classes"
)
def _(directory: Path) -> Any:
    _loaded(clip_torch, tiny_checkpoint(directory / "clip"), directory / "saved")


@trial("from_pretrained(text_encoder=, tokenizer=), clip_torch.hf")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory / "clip")
    return [_pictures(_loaded(library, checkpoint, directory / "saved"), prompt=_PROMPT) for library in _ASKED]


@trial("save_pretrained and from_pretrained of the pipeline, clip_torch.hf")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory / "clip")
    stable_diffusion(hf, checkpoint).save_pretrained(directory / "saved")
    again = diffusers.StableDiffusionPipeline.from_pretrained(directory / "saved")
    assert type(again.text_encoder) is hf.CLIPTextModel
    aligned(again.text_encoder)
    return [_pictures(pipeline, prompt=_PROMPT) for pipeline in (again, stable_diffusion(transformers, checkpoint))]


@trial("the pipeline that clip_torch.hf saved, its index renamed to transformers")
def _(directory: Path) -> Any:
    checkpoint, saved = tiny_checkpoint(directory / "clip"), directory / "saved"
    stable_diffusion(hf, checkpoint).save_pretrained(saved)
    index = saved / "model_index.json"
    index.write_text(index.read_text().replace("clip_torch.hf", "transformers"))
    again = diffusers.StableDiffusionPipeline.from_pretrained(saved)
    assert type(again.text_encoder) is transformers.CLIPTextModel
    aligned(again.text_encoder)
    return [_pictures(pipeline, prompt=_PROMPT) for pipeline in (again, stable_diffusion(transformers, checkpoint))]


@trial("load_lora_weights on the text encoder, scaled, fused, unloaded, clip_torch.hf")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory / "clip")
    _save_lora(checkpoint, directory / "lora")

    def pictures(library: Any) -> Any:
        pipeline, shown = stable_diffusion(library, checkpoint), []
        shown.append(_pictures(pipeline, prompt=_PROMPT))
        name = "pytorch_lora_weights.safetensors"
        pipeline.load_lora_weights(directory / "lora", weight_name=name, adapter_name="mine")
        shown.append(_pictures(pipeline, prompt=_PROMPT))
        pipeline.set_adapters("mine", 0.5)
        shown.append(_pictures(pipeline, prompt=_PROMPT))
        pipeline.fuse_lora(components=["text_encoder"])
        shown.append(_pictures(pipeline, prompt=_PROMPT))
        pipeline.unfuse_lora(components=["text_encoder"])
        pipeline.unload_lora_weights()
        shown.append(_pictures(pipeline, prompt=_PROMPT))
        assert len({picture.tobytes() for picture in shown[:3]}) == 3, "the adapter has no effect"
        return shown

    return [pictures(library) for library in _ASKED]


def _save_lora(checkpoint: Path, directory: Path) -> None:
    """Writes an adapter as diffusers' examples of training write one."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    encoder = transformers.CLIPTextModel.from_pretrained(checkpoint)
    torch.manual_seed(2)
    encoder.add_adapter(LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(encoder))
    diffusers.StableDiffusionPipeline.save_lora_weights(directory, text_encoder_lora_layers=layers)


@trial("load_textual_inversion of one and of three vectors, and unloaded, clip_torch.hf")
def _(directory: Path) -> Any:
    checkpoint = tiny_checkpoint(directory)
    generator = torch.Generator().manual_seed(3)
    one, three = torch.randn(32, generator=generator), torch.randn(3, 32, generator=generator)

    def pictures(library: Any) -> Any:
        pipeline = stable_diffusion(library, checkpoint)
        pipeline.load_textual_inversion({"<one>": one})
        pipeline.load_textual_inversion({"<three>": three})
        shown = [_pictures(pipeline, prompt=f"a photo of a {word}") for word in ("<one>", "<three>", "cat")]
        pipeline.unload_textual_inversion()
        shown.append(_pictures(pipeline, prompt="a photo of a <one>"))
        assert len({picture.tobytes() for picture in shown}) == 4
        return shown

    return [pictures(library) for library in _ASKED]
