"""Members that code around models of transformers touches."""

import pytest

from clip_core.errors import InputError
from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPModel


def test_parameters_are_counted_and_the_model_knows_where_it_came_from(tmp_path):
    model = TFCLIPModel(DISTINCT)
    total = sum(value.size for value in model.named_weights().values())
    assert model.num_parameters() == total
    model.text_model.trainable = False
    text = sum(value.size for name, value in model.named_weights().items() if name.startswith("text_model."))
    assert model.num_parameters(only_trainable=True) == total - text
    assert model.num_parameters(exclude_embeddings=True) == total - 61 * 24 - 11 * 24 - 17 * 20
    model.save_pretrained(tmp_path)
    assert TFCLIPModel.from_pretrained(tmp_path).name_or_path == str(tmp_path)


def test_a_table_of_another_size_needs_another_model():
    model = TFCLIPModel(DISTINCT)
    assert model.get_input_embeddings() is model.text_model.embeddings.token_embedding
    with pytest.raises(InputError, match=r"cannot change the shape of a variable\. Make another model"):
        model.resize_token_embeddings(64)
    assert model.config == DISTINCT
