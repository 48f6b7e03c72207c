"""Mistakes that CLIP ports have made, seeded into a backend, each with the test of the ladder that must catch it.

A suite that cannot fail proves nothing. Since the backends have the same classes, most defects fit all of them;
those that need a framework's own words name their backend.
"""

from __future__ import annotations

import clip_core.outputs
from conformance_tests.meta import mistakes_of_classifiers as classifiers
from conformance_tests.meta import mistakes_of_embeddings as embeddings
from conformance_tests.meta import mistakes_of_layers as layers
from conformance_tests.meta import mistakes_of_models as models
from conformance_tests.meta import mistakes_of_resnets as resnets
from conformance_tests.meta import mistakes_of_towers as towers
from conformance_tests.meta.seeder import Defect

DEFECTS = {
    **resnets.DEFECTS,
    "gelu for quick_gelu": Defect("test_layers::test_mlp", layers.activation("quick_gelu", lambda s, f: s.layers.gelu)),
    "tanh approximation for gelu": Defect(
        "test_layers::test_mlp", layers.activation("gelu", lambda s, f: s.layers.gelu_pytorch_tanh), case="legacy"
    ),
    "1.7 for 1.702 in quick_gelu": Defect(
        "test_layers::test_mlp",
        layers.activation("quick_gelu", lambda s, f: lambda x: f(x * (1.7 / 1.702)) * (1.702 / 1.7)),
    ),
    "epsilon 1e-6": Defect("test_layers::test_layer_norm", layers.epsilon(1e-6)),
    "epsilon 1e-3": Defect("test_layers::test_layer_norm", layers.epsilon(1e-3)),
    "fast variance": Defect("test_layers::test_layer_norm", layers.layer_norm(layers.fast_variance)),
    "square kernels untransposed": Defect("test_layers::test_linear", layers.stored_otherwise(layers.untransposed)),
    "patch kernel turned": Defect("test_layers::test_vision_embeddings", layers.stored_otherwise(layers.turned_kernel)),
    "output bias of the MLP skipped": Defect("test_layers::test_mlp", layers.without_bias("MLP", "fc2", None)),
    "output bias of attention skipped": Defect(
        "test_layers::test_attention", layers.without_bias("Attention", "out_proj", 0)
    ),
    "query bias skipped": Defect("test_layers::test_attention", layers.attention_weights(layers.without_query_bias)),
    "query and key swapped": Defect(
        "test_layers::test_attention",
        layers.attention_weights(lambda f, self, query, key, mask: f(self, key, query, mask)),
    ),
    "scores not scaled": Defect(
        "test_layers::test_attention",
        layers.attention_weights(lambda f, self, query, key, mask: f(self, query * self.head_dim**0.5, key, mask)),
    ),
    "one head": Defect("test_shapes::test_tower", layers.one_head),
    "class token last": Defect(
        "test_layers::test_vision_embeddings",
        embeddings.reordered(embeddings.class_token_last),
        backends=("torch", "flax"),
    ),
    "patches column by column": Defect(
        "test_layers::test_vision_embeddings",
        embeddings.reordered(embeddings.columns_first),
        backends=("torch", "flax"),
    ),
    "padded patch convolution": Defect(
        "test_layers::test_vision_embeddings", embeddings.padded_convolution, backends=("torch",)
    ),
    "positions from one": Defect(
        "test_layers::test_text_embeddings", embeddings.positions_from_one, backends=("torch",)
    ),
    "residual skipped": Defect("test_blocks::test_block", layers.without_residual),
    "hidden states off by one": Defect("test_blocks::test_encoder", towers.states_off_by_one),
    "last token pooled": Defect(
        "test_towers::test_text",
        lambda s: s.patch.setattr(s.text.TextTransformer, "pool", lambda self, states, ids: states[:, -1]),
    ),
    "largest id pooled": Defect("test_towers::test_text", lambda s: s.patch.setattr(s.text, "LEGACY_EOS_TOKEN_ID", 57)),
    "padding mask ignored": Defect(
        "test_towers::test_text",
        lambda s: s.wrap(
            s.text.TextTransformer, "causal_mask", lambda f, self, length, mask, *rest: f(self, length, None, *rest)
        ),
    ),
    "causal mask dropped": Defect(
        "test_towers::test_text",
        lambda s: s.wrap(s.text.TextTransformer, "causal_mask", lambda f, *args: f(*args) | True),
    ),
    "final LayerNorm skipped": Defect(
        "test_towers::test_text", towers.skipping("TextTransformer", "final_layer_norm"), backends=("torch",)
    ),
    "LayerNorm before the blocks skipped": Defect(
        "test_towers::test_vision", towers.skipping("VisionTransformer", "pre_layrnorm"), backends=("torch",)
    ),
    "post LayerNorm on all tokens": Defect("test_towers::test_vision", towers.post_norm_on_all_tokens),
    "kernel of resampling a = -0.5": Defect(
        "test_towers::test_interpolation", embeddings.resampled("_CUBIC_COEFFICIENT", -0.5)
    ),
    "bilinear resampling": Defect(
        "test_towers::test_interpolation", embeddings.resampled("_cubic_weights", embeddings.bilinear)
    ),
    "positions loaded by the recipe of a call": Defect(
        "test_positions::test_loaded_for_another_image_size", embeddings.vision_loaded_as_in_a_call
    ),
    "class token's position lost at the load": Defect(
        "test_positions::test_loaded_for_another_image_size", embeddings.class_token_lost_at_the_load
    ),
    "LongCLIP's positions spread evenly": Defect(
        "test_positions::test_loaded_for_longer_texts", embeddings.longclip_loaded_evenly
    ),
    "true end of text of 2 taken for the largest id": Defect(
        "test_traps::test_a_true_end_of_text_of_2_is_never_pooled_at_the_largest_id", embeddings.any_end_of_text
    ),
    "rows and columns of a resampled grid swapped": Defect("test_towers::test_interpolation", embeddings.turned_grid),
    "class token among the patches": Defect(
        "test_classification::test_logits", classifiers.tokens(classifiers.with_class_token)
    ),
    "patches normalised": Defect(
        "test_classification::test_logits", classifiers.tokens(lambda tower, states: tower.post_layernorm(states))
    ),
    "image without a label counted": Defect("test_classification::test_loss", classifiers.left_out_is_first),
    "logit scale not exponentiated": Defect("test_logits::test_logits", models.scale(lambda s, logarithm: logarithm)),
    "logit scale at most 100": Defect("test_gradients::test_gradients", models.clamped_scale),
    "embeddings not normalised": Defect(
        "test_logits::test_logits", lambda s: s.patch.setattr(s.model, "unit_length", lambda embeds: embeds)
    ),
    "features normalised": Defect("test_logits::test_text_features", models.features_of_unit_length),
    "loss of texts only": Defect("test_loss::test_loss", models.one_sided_loss),
    "gradient of the logit scale stopped": Defect("test_gradients::test_gradients", models.detached_scale),
    "gradient of positions stopped": Defect("test_gradients::test_gradients", embeddings.detached_positions(False)),
    "gradient of resampled positions stopped": Defect(
        "test_gradients::test_gradients_through_resampled_positions", embeddings.detached_positions(True)
    ),
    "softmax of scores as they are": Defect(
        "test_layers::test_attention_of_large_scores", layers.softmax(layers.unshifted)
    ),
    "masked by a score of -100": Defect(
        "test_layers::test_attention_of_large_scores", layers.softmax(layers.lowest(-100.0))
    ),
    "masked by a score of -10000": Defect(
        "test_layers::test_attention_of_large_scores", layers.softmax(layers.lowest(-10000.0))
    ),
    "softmax in half precision": Defect("test_dtypes::test_attention_is_rounded_once", layers.half_softmax),
    "LayerNorm in half precision": Defect(
        "test_dtypes::test_layer_norm_is_rounded_once", layers.layer_norm(layers.narrow_variance)
    ),
    "logits in half precision": Defect("test_dtypes::test_logits_and_loss_are_not_rounded", models.rounded_logits),
    "resampling matrix in half precision": Defect(
        "test_dtypes::test_resampled_positions_are_rounded_once", embeddings.resampled_in_its_dtype
    ),
    "mask after softmax": Defect("test_layers::test_attention", layers.masked_after_softmax),
    "first block's weights in all": Defect("test_blocks::test_encoder", layers.first_block_again),
    "attentions in reverse": Defect("test_blocks::test_encoder", towers.attentions_reversed),
    "positions of the first text for all": Defect(
        "test_layers::test_text_embeddings", embeddings.positions_of_the_first_row
    ),
    "class position twice": Defect(
        "test_layers::test_vision_embeddings", embeddings.table_of_positions(embeddings.class_position_twice)
    ),
    "left-over pixels at the start": Defect(
        "test_layers::test_vision_embeddings", embeddings.left_over_at_the_start, case="legacy"
    ),
    "resampled half a pixel off": Defect(
        "test_towers::test_interpolation", embeddings.resampled("_cubic_weights", embeddings.half_a_pixel_off)
    ),
    "last end pooled": Defect("test_towers::test_text", towers.last_end_pooled),
    "last of the largest ids pooled": Defect("test_towers::test_text", towers.last_end_pooled, case="legacy"),
    "one text loses its axis": Defect("test_loss::test_loss_of_one_pair_is_zero", towers.one_text_squeezed),
    "last state of texts normalised": Defect(
        "test_hidden_states::test_all",
        towers.states("text", lambda tower, output, _: (*output.hidden_states[:-1], output.last_hidden_state)),
    ),
    "first state of images before LayerNorm": Defect(
        "test_hidden_states::test_all",
        towers.states("vision", lambda tower, output, pixels: (tower.embeddings(pixels), *output.hidden_states[1:])),
    ),
    "flags of the configuration ignored": Defect("test_traps::test_flags_of_the_configuration", models.flags_ignored),
    "texts cut one token too early": Defect(
        "test_padding::test_texts_of_many_lengths", towers.cut(lambda length, masked: (length - 1, masked))
    ),
    "mask left out with the padding": Defect(
        "test_padding::test_mask_that_hides_what_an_end_sees", towers.cut(lambda length, masked: (length, False))
    ),
    "dropout in evaluation": Defect("test_traps::test_evaluation_is_without_dropout", towers.dropout_in_evaluation),
    "loaded in the dtype of the file": Defect("test_round_trip::test_loaded_in_float32", models.loaded_as_stored),
    "stored in float32": Defect("test_round_trip::test_saved_and_loaded", models.saved_as("float32")),
    "weights rounded when loaded": Defect("test_round_trip::test_saved_and_loaded", models.rounded_when_loaded),
    "embeddings not gathered": Defect("test_distributed::test_loss_of_the_global_batch", models.ungathered),
    "block untracked": Defect(
        "test_round_trip::test_checkpoint_of_the_framework_holds_every_weight",
        models.untracked_blocks,
        backends=("torch", "tf"),  # NNX refuses to keep a module where it does not see it
    ),
    "adapter dropped": Defect("test_round_trip::test_adapter_is_saved_merged_or_refused", models.adapter_dropped),
    "outputs in outputs stay in a tuple": Defect(
        "test_traps::test_tuple_has_the_order_of_the_fields",
        lambda s: s.patch.setattr(clip_core.outputs.ModelOutput, "to_tuple", lambda self: tuple(self.values())),
    ),
    "values of texts unchecked": Defect(
        "test_traps::test_meaningless_text_is_an_error",
        lambda s: s.patch.setattr(s.text, "check_text_values", lambda *values: None),
    ),
}
