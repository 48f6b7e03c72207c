import json
from dataclasses import replace

import numpy as np
import pytest

from clip_core.config import CLIPConfig
from clip_core.errors import ConfigError, InputError, InputTypeError
from clip_core.labels import check_labels, problem_of


def test_the_labels_are_those_that_are_named_or_counted():
    named = CLIPConfig(id2label={"0": "crane", "1": "maillot", 2: "crane"})
    assert (named.num_labels, named.id2label) == (3, {0: "crane", 1: "maillot", 2: "crane"})
    assert named.label2id == {"crane": 2, "maillot": 1}
    assert CLIPConfig(label2id={"b": "1", "a": 0}).id2label == {0: "a", 1: "b"}
    assert CLIPConfig(num_labels=1).id2label == {0: "LABEL_0"}
    assert (CLIPConfig().num_labels, CLIPConfig(num_labels=0).id2label) == (2, {})


def test_a_config_json_is_as_transformers_writes_it_and_has_no_labels_that_nobody_said():
    assert not {"num_labels", "id2label", "label2id", "problem_type"} & set(CLIPConfig().to_dict())
    config = CLIPConfig(id2label={0: "a", 1: "b", 2: "c"}, problem_type="multi_label_classification")
    written = json.loads(config.to_json_string())
    assert written["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert "num_labels" not in written
    assert CLIPConfig.from_dict(written) == config
    none = CLIPConfig(num_labels=0)
    assert CLIPConfig.from_dict(json.loads(none.to_json_string())) == none
    assert hash(config) == hash(CLIPConfig.from_dict(written))  # nnx keeps programs by configuration


def test_a_change_of_labels_leaves_nothing_of_the_old_ones():
    config = CLIPConfig(id2label={0: "a", 1: "b", 2: "c"})
    assert config.changed({"num_labels": 3}) == config
    assert config.changed({"num_labels": 4}) == CLIPConfig(num_labels=4)
    assert config.changed({"id2label": {0: "d"}, "projection_dim": 7}) == CLIPConfig(
        id2label={0: "d"}, projection_dim=7
    )
    assert config.changed({"problem_type": "regression"}).id2label == config.id2label
    assert replace(config, projection_dim=7).label2id == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"num_labels": -1}, "num_labels: expected an integer >= 0, got -1"),
        ({"num_labels": 3, "id2label": {0: "a"}}, "num_labels: expected 1, as id2label has, got 3"),
        ({"id2label": {1: "a", 2: "b"}}, r"id2label: expected the numbers 0 to 1, got \[1, 2\]"),
        ({"id2label": ["a", "b"]}, "expected mappings, got"),
        ({"id2label": {"a": "b"}}, "id2label: expected numbers of labels, got 'a'"),
        ({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}}, "label2id: expected the names of id2label"),
        ({"problem_type": "classification"}, "problem_type: expected None or one of"),
        ({"id2label": {0.5: "a", 1.2: "b"}}, "id2label: expected numbers of labels, got 0.5"),
        ({"id2label": {0: "a", "0": "b"}}, "id2label: expected one name for each number"),
    ],
)
def test_labels_that_contradict_one_another_are_an_error(labels, message):
    with pytest.raises(ConfigError, match=message):
        CLIPConfig(**labels)


def test_the_problem_is_the_configured_one_or_that_of_the_labels():
    assert problem_of(CLIPConfig(num_labels=1), "int64") == "regression"
    assert problem_of(CLIPConfig(), "uint8") == "single_label_classification"
    assert problem_of(CLIPConfig(), "float32") == "multi_label_classification"
    assert problem_of(CLIPConfig(problem_type="regression"), "int32") == "regression"


MULTI = "multi_label_classification"


@pytest.mark.parametrize(
    ("config", "labels", "error", "message"),
    [
        ({"num_labels": 0}, [1, 2], InputError, "num_labels is 0"),
        ({"num_labels": 3}, [1, 2], None, ""),
        ({"num_labels": 3}, [[1], [-100]], None, ""),
        ({"num_labels": 3}, [1, 3], InputError, "expected 0 to 2, or -100 for none, got 3"),
        ({"num_labels": 3}, [1, -1], InputError, "got -1"),
        ({"num_labels": 3}, [1, 2, 0], InputError, r"expected shape \[2\] for single_label_classification, got \[3\]"),
        ({"num_labels": 3}, [1.0, 2.0], InputError, r"expected shape \[2, 3\] for multi_label_classification"),
        ({"num_labels": 3}, [[1.0, 0.5, 0.0]] * 2, None, ""),
        ({"num_labels": 3}, [[1.0, 0.5, 7.0]] * 2, InputError, "expected numbers from 0 to 1 for .*, got 7.0"),
        ({"num_labels": 3, "problem_type": MULTI}, [[1, 0, 1]] * 2, InputTypeError, "expected floating-point"),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, [1.0, 2.0], InputTypeError, "integers"),
        ({"num_labels": 1}, [7, -3], None, ""),
        ({"num_labels": 1}, [[7.5], [-3.0]], None, ""),
        ({"num_labels": 1}, [[7.5, -3.0]], InputError, r"expected shape \[2\] for regression, got \[1, 2\]"),
    ],
)
def test_labels_of_two_images_are_checked(config, labels, error, message):
    values = np.array(labels)
    given = (values.shape, str(values.dtype), values, 2, CLIPConfig(**config))
    if error is None:
        check_labels(*given)
    else:
        with pytest.raises(error, match=message):
            check_labels(*given)
