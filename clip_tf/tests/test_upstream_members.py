"""Members of transformers' TensorFlow classes, towers and blocks in other models, the summary of all layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core import CLIPProcessor
from clip_core.errors import InputError
from clip_tf import TFCLIPModel, TFCLIPTextModel, TFCLIPVisionModelWithProjection
from clip_tf.tests.test_saving import DISTINCT, INPUTS


@pytest.fixture(scope="module")
def model():
    return TFCLIPModel(DISTINCT, seed=3)


def test_small_members(model):
    model.build()
    model.build_in_name_scope()
    assert model.framework == "tf"
    assert model(model.dummy_inputs).logits_per_image.shape == (1, 1)
    assert set(TFCLIPTextModel(DISTINCT.text_config).dummy_inputs) == {"input_ids", "attention_mask"}
    assert TFCLIPModel.from_pretrained("triclip-emoji", from_pt=True).name_or_path == "triclip-emoji"
    with pytest.raises(InputError, match="saved_model=True has no meaning here. Call model.export"):
        model.save_pretrained("never", saved_model=True)


def test_input_embeddings_are_set_where_the_shape_is_theirs():
    model = TFCLIPModel(DISTINCT, seed=3)
    table = np.ones((61, 24), np.float32)
    model.set_input_embeddings(table)
    np.testing.assert_array_equal(model.named_weights()["text_model.embeddings.token_embedding.weight"], table)
    with pytest.raises(InputError, match=r"expected shape \[61, 24\], got \[62, 24\]"):
        model.set_input_embeddings(np.ones((62, 24), np.float32))


def test_parameters_of_adapters_are_counted():
    model = TFCLIPModel(DISTINCT, seed=3)
    before = model.num_parameters()
    model.enable_lora(2, ["text_projection"])
    assert model.num_parameters(only_trainable=True) == 2 * (24 + 18)
    assert model.num_parameters() == before + 2 * (24 + 18)


def test_serving_and_a_plain_saved_model(model, tmp_path):
    batch = {name: tf.constant(value) for name, value in INPUTS.items()} | {"attention_mask": tf.ones((4, 3), tf.int32)}
    expected = model(batch).logits_per_image
    np.testing.assert_allclose(model.serving(batch)["logits_per_image"], expected, atol=1e-5)
    tf.saved_model.save(model, str(tmp_path))
    signature = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    np.testing.assert_allclose(signature(**batch)["logits_per_image"], expected, atol=1e-5)


class Rows:
    """As of `datasets.Dataset`: columns that the model does not take, texts of different lengths."""

    def __init__(self):
        processor = CLIPProcessor.from_pretrained("triclip-emoji")
        pixels = np.random.default_rng(0).standard_normal((5, 3, 64, 64)).astype(np.float32)
        texts = [dict(processor(text=text)) for text in ("cat", "a dog", "two red apples", "sun", "moon")]
        self.rows = [{**text, "pixel_values": pixel, "label": 1} for text, pixel in zip(texts, pixels, strict=True)]
        self.tokenizer = processor.tokenizer

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_rows_become_batches():
    rows = Rows()
    model = TFCLIPModel.from_pretrained("triclip-emoji")
    data = model.prepare_tf_dataset(rows, batch_size=2, shuffle=False, tokenizer=rows.tokenizer)
    batches = list(data.as_numpy_iterator())
    assert [len(batch["pixel_values"]) for batch in batches] == [2, 2, 1]
    assert set(batches[0]) == {"input_ids", "attention_mask", "pixel_values"}
    assert batches[0]["input_ids"].dtype == np.int32
    np.testing.assert_array_equal(batches[1]["pixel_values"][0], rows[2]["pixel_values"])
    expected = model(
        rows.tokenizer.pad([{"input_ids": row["input_ids"]} for row in rows.rows], return_tensors="np")
        | {"pixel_values": np.stack([row["pixel_values"] for row in rows.rows])}
    )
    model.compile(run_eagerly=True)
    np.testing.assert_allclose(model.predict(data, verbose=0).text_embeds, expected.text_embeds, atol=1e-5)
    shuffled = model.prepare_tf_dataset(rows, batch_size=2, tokenizer=rows.tokenizer)
    assert [len(batch["pixel_values"]) for batch in shuffled] == [2, 2]
    collated = model.prepare_tf_dataset(
        rows,
        batch_size=5,
        shuffle=False,
        collate_fn=lambda rows, by: {"pixel_values": [by * row["pixel_values"] for row in rows], "label": [0]},
        collate_fn_args={"by": 2},
    )
    np.testing.assert_array_equal(next(iter(collated))["pixel_values"][0], 2 * rows[0]["pixel_values"])
    with pytest.raises(InputError, match="dataset: expected rows with some of input_ids, pixel_values, .*, got label"):
        model.prepare_tf_dataset([{"label": 1}])


def test_towers_and_blocks_inside_other_models(model):
    tower = TFCLIPVisionModelWithProjection(DISTINCT.vision_config, seed=3)
    stack = keras.Sequential([keras.Input((3, 30, 30)), tower, keras.layers.Lambda(lambda output: output.image_embeds)])
    np.testing.assert_allclose(stack(INPUTS["pixel_values"]), tower(INPUTS["pixel_values"]).image_embeds, atol=1e-6)
    part = model.vision_model
    plain = keras.Sequential([part.embeddings, part.pre_layrnorm])
    hidden = plain(INPUTS["pixel_values"])
    states = keras.Input((17, 20))
    block = keras.Model(states, part.encoder.layers[0](states, attention_mask=None, output_attentions=True)[0])
    every = part(INPUTS["pixel_values"], output_hidden_states=True).hidden_states
    np.testing.assert_allclose(block(hidden), every[1], atol=1e-5)
    ids = keras.Input((None,), dtype="int32")
    pooled = keras.Model(ids, model.text_model(ids).pooler_output)
    np.testing.assert_allclose(
        pooled(INPUTS["input_ids"]), model.text_model(INPUTS["input_ids"]).pooler_output, atol=1e-6
    )


def test_the_summary_shows_every_layer(model):
    lines = []
    model.summary(line_length=140, expand_nested=True, print_fn=lines.append)
    text = "\n".join(lines)
    for name in ("patch_embedding", "q_proj", "layer_norm2", "fc1", "post_layernorm", "token_embedding"):
        assert name in text
    assert f"{model.num_parameters():,}" in text
    assert not any("layers" in vars(layer) for layer in (model.text_model, model.vision_model.encoder.layers[0]))
