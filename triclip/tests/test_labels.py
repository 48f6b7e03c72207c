import pytest

from clip_core.errors import InputError
from triclip.labels import fill_templates, merge_labels, parse_labels, parse_templates


def test_a_label_file_has_one_label_per_line() -> None:
    content = "\ufeffa cat\r\n\n  # pets\n dög \n#1\n日本 # no comment\n".encode()
    assert parse_labels(content, "f") == ["a cat", "dög", "日本 # no comment"]


def test_a_label_file_in_another_encoding_names_the_line() -> None:
    with pytest.raises(InputError, match=r"pets\.txt: expected UTF-8.*0xf6 in line 2"):
        parse_labels("cat\ndög".encode("latin-1"), "pets.txt")


def test_a_label_file_of_comments_is_refused() -> None:
    with pytest.raises(InputError, match="expected one label per line, got none"):
        parse_labels(b"# cat\n\n", "pets.txt")


def test_a_json_file_of_labels_is_a_list_of_them() -> None:
    assert parse_labels('\ufeff["a cat",\n "#1"]'.encode(), "pets.JSON") == ["a cat", "#1"]
    for content in (b'{"0": "cat"}', b'["cat", 1]', b"[]", b"cat"):
        with pytest.raises(InputError, match=r"pets\.json: expected (JSON, )?a list of labels, got "):
            parse_labels(content, "pets.json")


def test_repeated_labels_are_merged_and_named() -> None:
    assert merge_labels(["b", "a", "b", "c", "b", "c"]) == (["b", "a", "c"], ["b", "c"])


def test_templates_are_filled_label_by_label() -> None:
    filled = [["a", "one a {x} a"], ["b{}", "one b{} {x} b{}"]]
    assert fill_templates(["a", "b{}"], ["{}", "one {} {x} {}"]) == filled
    assert fill_templates(["b", "a"], {"a": "its {}", "b": ["x", "y {}"]}) == [["x", "y b"], ["its a"]]


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(InputError, match=r"template 'a photo': expected \{\}"):
        fill_templates(["cat"], ["a photo"])


def test_a_template_file_has_one_template_per_line_or_is_json() -> None:
    assert parse_templates(b"{}\n# which\n[a {}]\n", "t.txt") == ["{}", "[a {}]"]
    assert parse_templates('\ufeff["{}", "a {}"]'.encode(), "t.json") == ["{}", "a {}"]
    assert parse_templates(b'{"cat": ["mew"], "dog": "woof"}', "T.JSON") == {"cat": ["mew"], "dog": "woof"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}\na {}", r"t\.json: expected JSON, a list of templates, or an object .*, got "),
        (b'["\xff"]', "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"cat": ["a"], "cat": ["b"]}', "got 'cat' twice"),
        (b"[]", r"got \[\]\."),
        (b'"a {}"', r"got 'a \{\}'\."),
    ],
)
def test_a_template_file_that_is_no_such_json_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_templates(content, "t.json")
