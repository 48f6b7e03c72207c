"""The three backends have the same files, classes, methods, functions and arguments, in the same order; what differs is
listed here with a reason. Read with ``ast``: nothing is imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("__init__", "classification", "layers", "positions", "text", "vision", "vision_resnet", "model", "weights")
PREFIX = {"clip_torch": "", "clip_tf": "TF", "clip_flax": "Flax"}
CALLS = ("forward", "call", "__call__")

ARGUMENTS = {  # arguments that a backend has besides: package, how it is passed, name -> reason
    ("clip_tf", "keyword", "name"): "Keras names layers when they are made; the names are in .keras files",
    ("clip_tf", "keyword", "output_attentions"): "of upstream's TF features, where it changes nothing either",
    ("clip_tf", "keyword", "output_hidden_states"): "as output_attentions",
    ("clip_tf", "keyword", "return_dict"): "as output_attentions",
    ("clip_tf", "position", "training"): "a Keras call says whether it trains",
    ("clip_tf", "position", "dropout_seed"): "dropout without state, so that a recomputed block drops the same",
    ("clip_flax", "position", "dtype"): "NNX layers are made with their dtype; the others get it from a default",
    ("clip_flax", "position", "params"): "of the documented functional form",
    ("clip_flax", "position", "dropout_rng"): "of the documented functional form: JAX has no hidden random state",
    ("clip_flax", "position", "train"): "of the documented functional form",
    ("clip_flax", "position", "axis_name"): "the devices of a loss, as torch's group",
    ("clip_flax", "keyword", "param_dtype"): "NNX layers have a dtype of weights beside that of the computation",
    ("clip_flax", "keyword", "rngs"): "what modules of NNX are made with",
    ("clip_flax", "keyword", "input_shape"): "as in transformers' Flax models",
    ("clip_flax", "keyword", "_do_init"): "as in transformers' Flax models",
    ("clip_flax", "keyword", "mesh"): "of JAX's devices",
    ("clip_flax", "keyword", "sharding"): "over the mesh",
    ("clip_flax", "position", "precision"): "of the product that resamples; as the keyword",
    ("clip_flax", "keyword", "precision"): "JAX has a precision per product; the others one switch for the process",
    (
        "clip_torch",
        "position",
        "group",
    ): "the processes of a loss; a strategy of TensorFlow and a mesh of JAX have others",
    ("clip_torch", "keyword", "device_map"): "a torch model lies on one device; the others' frameworks place arrays",
    ("clip_torch", "keyword", "disable_mmap"): "only torch keeps weights as they lie in a file",
    ("clip_torch", "keyword", "attn_implementation"): "only torch has a fused attention beside its own",
    ("clip_torch", "position", "device"): "where the mask is made; the others have no device of an input",
    ("clip_torch", "position", "is_causal"): "only torch calls a fused attention, which knows a causal mask",
    ("clip_torch", "position", "like"): "the tensor whose device and dtype the matrix gets",
    ("clip_torch", "position", "dtype"): "parameters are replaced when loaded; the others' have their dtype already",
}
OTHER_ARGUMENTS = {  # another order or name of arguments: name -> reason
    "clip_flax": {
        "vision.CLIPVisionModel.call": "what upstream's Flax models lack comes after what they have",
        "vision.CLIPVisionModelWithProjection.call": "as CLIPVisionModel",
        "model.CLIPModel.call": "as CLIPVisionModel",
        "layers.Encoder.call": "torch's is called by code around it, in transformers' words",
        "text.TextEmbeddings.call": "as Encoder",
        "weights.to_array": "what it reads is an nnx.Param",
        "weights.CLIPPreTrainedModel.save_pretrained": "torch gathers unless a state dict is given; Flax has params",
    },
    "clip_tf": {
        "vision.CLIPVisionModel.call": "what upstream's TF models lack comes after what they have",
        "vision.CLIPVisionModelWithProjection.call": "as CLIPVisionModel",
        "model.CLIPModel.call": "as CLIPVisionModel",
        "layers.Encoder.call": "torch's is called by code around it, in transformers' words",
        "text.TextEmbeddings.call": "as Encoder",
        "weights.to_array": "what it reads is a keras.Variable",
    },
}
TORCH_ALONE = {  # what neither of the others has: name -> reason
    "positions.exported_matrix": "the others' exports hold the matrix, or compute it without an operator",
    "positions.is_exporting": "of exported_matrix",
    "weights.CLIPPreTrainedModel.check_replicas": "only FSDP2 leaves scalars whole and their gradients apart",
    "vision_resnet.recomputed": "Keras and JAX recompute functions without state",
    "vision_resnet.untracked": "of recomputed",
    "weights.in_place_of": "only torch tells parameters from buffers when they are set",
    "layers.is_ours": "of is_causal: blocks and attention of others take no such argument",
    "weights.CLIPPreTrainedModel.__getstate__": "only torch's weights can lie in a file that somebody writes to",
    "layers.joined_masks": "transformers' torch encoder takes two masks; its others none that come from outside",
    "layers.refuse_meta": "only torch has tensors without values outside of a trace",
    "layers.EncoderOutput": "code around transformers' torch models calls the encoder itself",
    "weights.CLIPPreTrainedModel.set_input_embeddings": "only torch's modules are exchanged",
    "weights.CLIPPreTrainedModel.enable_input_require_grads": "only torch tells by tensor what needs a gradient",
    "weights.CLIPPreTrainedModel.disable_input_require_grads": "as enable_input_require_grads",
    "weights.CLIPPreTrainedModel.as_arrays": "state dicts are torch's; arrays are taken by all",
    "weights.CLIPPreTrainedModel.set_attn_implementation": "only torch has a fused attention beside its own",
    "weights.WithoutInitialValues": "Keras and NNX are told an initializer",
    "weights.WithoutInitialValues.__torch_function__": "of it",
    "weights.CLIPPreTrainedModel.train": "only torch keeps weights as they lie in a file",
    "weights.device_of": "device_map is a keyword of torch",
    "weights.CLIPPreTrainedModel.parameter": "only torch's can lie on the meta device",
}
ABSENT = {  # what a backend has not, though torch has: name -> reason
    "clip_tf": {
        **TORCH_ALONE,
        "weights.CLIPPreTrainedModel.set_table": "a Keras variable keeps its shape",
        "model.gathered": "a method of the replica context",
        "weights.to_tensor": "of the three frameworks that Keras runs on",
        "weights.torch_dtype": "is dtype_policy",
        "weights.CLIPPreTrainedModel.built": "Keras adds no keyword of from_pretrained",
        "weights.CLIPPreTrainedModel.save_pretrained": "only torch's weights are spread over processes",
        "weights.CLIPPreTrainedModel.device": "TensorFlow places each operation",
        "weights.CLIPPreTrainedModel.dtype": "keras.Model has it",
    },
    "clip_flax": {
        **TORCH_ALONE,
        "layers.is_watched": "JAX has no hooks; what leaves nothing behind is known of what is compiled",
        "model.gathered": "jax.lax.all_gather",
        "positions.interpolation_matrix": "a NumPy array is a constant of a trace",
        "weights.torch_dtype": "is jax_dtype",
    },
}
EXTRA = {  # what a backend has and torch has not: name -> reason
    "clip_tf": {
        "layers.embedding": "built when made, as all layers; torch's needs no words",
        "layers.dtype_name": "of the three frameworks that Keras runs on",
        "layers.sizes": "of symbolic inputs",
        "layers.plain_errors": "Keras would wrap them",
        "weights.without_initial_values": "Keras' initializers make values; torch has a meta device, NNX takes shapes",
        "weights.set_first_value": "of without_initial_values",
        "layers.checkpoint": "torch has it in the library",
        "classification.CLIPForImageClassification.compile": "losses and metrics of the logits",
        "classification.CLIPForImageClassification.check_data": "labels are checked before they go into compiled code",
        "classification.CLIPForImageClassification.compute_loss": "fit trains with the model's own loss",
        "classification.check_losses": "of compile",
        "vision_resnet.zeros_around": "Keras pads a stride on two sides only",
        "vision_resnet.BatchNorm.normalised": "torch has it in the library",
        "vision_resnet.BatchNorm.by_batch": "of recompute",
        "vision_resnet.BatchNorm.track": "torch has it in the library",
        "vision_resnet.Bottleneck.computed": "of recompute",
        "vision_resnet.recompute": "in Keras a recomputed function may change no variables",
        "vision_resnet.track_parts": "TensorFlow's checkpoints see no lists",
        "classification.cross_entropy": "torch has it in the library",
        "model.CLIPModel.predict": "Keras puts batches together; logits compare all",
        "model.CLIPModel.compile": "refuses a loss of no output, which would have no effect",
        "model.CLIPModel.compile_from_config": ".keras files of compiled models",
        "model.CLIPModel.check_data": "refuses weights of samples, which would have no effect",
        "model.CLIPModel.batch_loss": "a strategy's replicas are known where the loss is made; torch is told its group",
        "model.CLIPModel.compute_loss": "fit trains with the model's own loss",
        "model.refuse_targets": "of compute_loss and check_data",
        "weights.dtype_policy": "torch_dtype of Keras",
        "weights.checked": "what fit and its like are given is checked before it goes into compiled code",
        "weights.CLIPPreTrainedModel.check_data": "of checked",
        "weights.CLIPPreTrainedModel.stateless_call": "what fit and predict call on JAX",
        "weights.CLIPPreTrainedModel.__init_subclass__": "Keras reads the signature of an overridden call",
        "weights.CLIPPreTrainedModel.compile": "of compute_metrics",
        "weights.CLIPPreTrainedModel.compile_from_config": ".keras files of compiled models",
        "weights.CLIPPreTrainedModel.compute_loss": "Keras' losses by the names of outputs",
        "weights.CLIPPreTrainedModel.compute_metrics": "Keras' metrics by the names of outputs",
        "weights.layers_of": "layers made inside have the dtype policy",
        "weights.CLIPPreTrainedModel.call": "unpacks the one object that fit and predict hand over",
        "weights.CLIPPreTrainedModel.input_signature": "of exports",
        "weights.CLIPPreTrainedModel.export": "SavedModel without glue",
        "weights.CLIPPreTrainedModel.get_config": ".keras files",
        "weights.CLIPPreTrainedModel.from_config": ".keras files",
    },
    "clip_flax": {
        "classification.cross_entropy": "torch has it in the library",
        "vision_resnet.BatchNorm.track": "torch has it in the library",
        "weights.held_dtype": "JAX may have no integers of 64 bits",
        "text.CLIPTextPreTrainedModel": "a documented class of the Flax models",
        "vision.CLIPVisionPreTrainedModel": "a documented class of the Flax models",
        "weights.CLIPPreTrainedModel.to_array": "nnx.tabulate breaks static methods",
        "weights.CLIPPreTrainedModel.no_values": "_do_init=False",
        "weights.CLIPPreTrainedModel.gradient_checkpointing_enable": "policy=",
        "layers.NoRngs": "NNX layers want random numbers for weights that are set next",
        "layers.NoRngs.params": "of NoRngs",
        "layers.no_weight": "an initializer that makes none",
        "layers.embedding": "made with dtype and no_weight",
        "layers.sizes": "of an export's symbolic shapes",
        "layers.computed_once": "only XLA computes what it has again",
        "model.checked_axis_name": "only JAX tells that a function runs on a part of the batch",
        "model.log_softmax": "over mapped axes",
        "weights.is_spread": "torch's DTensor tells by its class",
        "weights.jax_dtype": "torch_dtype of JAX",
        "weights.jax_precision": "JAX has a precision per product",
        "weights.CLIPPreTrainedModel.traced_values": "constructors run under nnx.jit and nnx.eval_shape",
        "weights.CLIPPreTrainedModel.place": "looks through nnx.LoRA",
        "weights.CLIPPreTrainedModel.set_view": "nnx.view",
    },
}


EXTRA_FILES = {  # file -> reason
    "clip_torch": {
        "mapped": "only torch keeps weights as they lie in a file",
        "hf": "transformers' classes are torch modules; it has no others any more",
        "int8": "the others' frameworks have no products of int8 that are faster",
    },
    "clip_tf": {
        "layer_state": "what .keras files keep of layers; the others have no such files",
        "compilation": "Keras calls layers slower than torch; Flax compiles blocks",
        "batches": "Keras knows no other nests than those that are registered",
        "arguments": "fit and its like hand over one mapping, and Keras reads signatures",
        "adapters": "LoRA of Keras' layers; PyTorch has PEFT",
        "members": "of transformers' TensorFlow classes",
        "objectives": "what compile takes",
        "data": "fit and its like check arrays before they go into compiled code",
    },
    "clip_flax": {
        "adapters": "torch's are peft's, Keras' layers merge their own",
        "compilation": "JAX dispatches operations one by one, and slower than torch; Keras compiles itself",
        "explicit_mesh": "only JAX's meshes have types",
        "patches": "only XLA convolves patches more slowly than it multiplies them",
        "linen": "the modules of transformers' Flax models",
        "functional": "the documented functional form: JAX has no hidden state",
        "sharding": "torch's and TensorFlow's models are spread by FSDP and strategies",
    },
}


def outline(package):
    """Arguments by ``file.Class.method``, ``file.Class`` and ``file.function``, without prefix and private names."""
    found = {}
    for file in FILES:
        for node in ast.parse((ROOT / package / f"{file}.py").read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                name = f"{file}.{node.name.removeprefix(PREFIX[package])}"
                found[name] = arguments(package, node) if isinstance(node, ast.FunctionDef) else ()
                for method in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(method, ast.FunctionDef) and not _private(method.name):
                        own = "call" if method.name in CALLS else method.name
                        found[f"{name}.{own}"] = arguments(package, method)
    return found


def _private(name):
    return name.startswith("_") and not name.endswith("__")


def arguments(package, node):
    by_position = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    by_keyword = [argument.arg for argument in node.args.kwonlyargs]
    return (
        *(name for name in by_position if (package, "position", name) not in ARGUMENTS),
        *(name for name in by_keyword if (package, "keyword", name) not in ARGUMENTS),
    )


@pytest.mark.parametrize("package", ["clip_tf", "clip_flax"])
def test_same_outline(package):
    torch, other = outline("clip_torch"), outline(package)
    assert set(torch) - set(other) == set(ABSENT[package]), "absent: list it in ABSENT with a reason, or add it"
    assert set(other) - set(torch) == set(EXTRA[package]), "extra: list it in EXTRA with a reason, or remove it"
    shared = [name for name in torch if name in other]
    assert [name for name in other if name in torch] == shared, "the order of definitions differs"
    different = {name: (torch[name], other[name]) for name in shared if torch[name] != other[name]}
    assert set(different) == set(OTHER_ARGUMENTS[package]), different


def test_every_backend_has_exactly_these_files():
    for package in PREFIX:
        files = {path.stem for path in (ROOT / package).glob("*.py")}
        assert files == {*FILES, *EXTRA_FILES.get(package, ())}, package


def test_models_without_a_framework_are_called_as_torch_is():
    """Of `clip_onnx`, whose layers are nodes of a graph: the models and the towers inside, their calls and members."""
    calls = {
        f"{file}.{name}.{method.name.replace('__call__', 'forward')}": [argument.arg for argument in method.args.args]
        for file in ("text", "vision", "model")
        for name, method in _methods(ROOT / "clip_onnx" / f"{file}.py")
        if method.name == "__call__" or method.name.startswith("get_") or method.name == "logits"
    }
    alone = {argument for package, _, argument in ARGUMENTS if package == "clip_torch"}
    alone.add("pooled_only")  # a graph of its own, of which `VisionTransformer.features` are
    torch = {
        f"{file}.{name}.{method.name}": [argument.arg for argument in method.args.args if argument.arg not in alone]
        for file in ("text", "vision", "model")
        for name, method in _methods(ROOT / "clip_torch" / f"{file}.py")
    }
    assert len(calls) == 10
    assert {name: torch[name] for name in calls} == calls


def _methods(path):
    return [
        (node.name, method)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    ]
