"""Writes docs/api.md, what each package exports, from the source: ``python docs/make_api.py [--check]``.

Nothing is imported, so that no framework needs to be there.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
SECTIONS = {
    "triclip": (),
    "clip_core": (),
    "clip_core.outputs": (
        "ModelOutput",
        "BaseModelOutputWithPooling",
        "CLIPTextModelOutput",
        "CLIPVisionModelOutput",
        "CLIPOutput",
        "ImageClassifierOutput",
    ),
    "clip_core.pretrained": ("PretrainedModel",),
    "clip_torch": (),
    "clip_torch.hf": (),
    "clip_tf": (),
    "clip_tf.in_graph": (),
    "clip_flax": (),
    "clip_onnx": (),
    "weights_convert": (),
    "conformance_tests.adapter": ("Adapter",),
}
"""Modules of the page, each with the names that it shows: those of ``__all__``, if none are given."""

HEAD = """# What each package exports

Made from the code by `make docs`. What is not here may change without notice. Only the first paragraph of each
docstring is shown; `help()` shows the rest. A class shows what is its own; bases that it shares follow further down.
"""
WIDTH = 116
OPERATORS = ("__call__", "__getitem__", "__contains__", "__len__")
"""Special methods that users reach without their names."""


class Found(NamedTuple):
    """A definition and the module that it stands in."""

    module: str
    node: ast.stmt


def main(check: bool) -> int:
    """Writes the page, or says whether it is as the code says: 0 if so."""
    page = HEAD + "".join(section(module, names) for module, names in SECTIONS.items())
    if not check:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        print("docs/api.md is not what the code says. Run: make docs", file=sys.stderr)
        return 1
    return 0


def section(module: str, names: tuple[str, ...]) -> str:
    """The heading of a module, its docstring's first paragraph, and each of its names; then bases that they share."""
    found = [definition(module, name) for name in names or exports(module)]
    for one in found:  # grows on the way, so that bases of bases come too
        found += [base for base in bases(one) if base not in found and not is_exported(base)]
    entries = [f"\n### `{name_of(one.node)}`\n\n```text\n{entry(one)}```\n" for one in found]
    return f"\n## {module}\n\n{fill(first_paragraph(tree_of(module)), WIDTH)}\n" + "".join(entries)


def entry(found: Found) -> str:
    """Signature, first paragraph and the public members that are explained; others override one that is."""
    node = found.node
    if isinstance(node, ast.FunctionDef):
        return block(0, node.name + signature(node), first_paragraph(node))
    if not isinstance(node, ast.ClassDef):
        return block(0, ast.unparse(node), "")
    above = ", ".join(map(ast.unparse, node.bases))
    lines = [block(0, f"class {node.name}({above})" if above else f"class {node.name}", first_paragraph(node))]
    functions = [line for line in node.body if isinstance(line, ast.FunctionDef)]
    constructor = next((signature(function) for function in functions if function.name == "__init__"), fields(found))
    if constructor and is_public(node.name):
        lines.append(block(4, node.name + constructor, ""))
    constants = [line for line in node.body if isinstance(line, ast.Assign) and is_public(name_of(line))]
    lines += [block(4, ast.unparse(line), "") for line in constants]
    lines += [block(4, member(f), first_paragraph(f)) for f in functions if is_public(f.name) and ast.get_docstring(f)]
    return "".join(lines)


def member(node: ast.FunctionDef) -> str:
    """A method's signature, or a property's name and type."""
    is_property = any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list)
    return f"{node.name}: {ast.unparse(node.returns)}" if is_property and node.returns else node.name + signature(node)


def signature(node: ast.FunctionDef) -> str:
    """Arguments, without ``self``, and what is returned; a constructor returns nothing."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    parts = [argument(a.arg, a.annotation, value) for a, value in zip(positional, defaults, strict=True)]
    parts = [part for part in parts if part not in ("self", "cls")]
    if given.vararg or given.kwonlyargs:
        parts.append(f"*{given.vararg.arg if given.vararg else ''}")
    parts += [argument(a.arg, a.annotation, v) for a, v in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        parts.append(f"**{given.kwarg.arg}")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    return f"({', '.join(parts)}){returns}"


def argument(name: str, annotation: ast.expr | None, default: ast.expr | None) -> str:
    """As in a signature; a field's ``default_factory`` is what it makes."""
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        made = [f"{ast.unparse(key.value)}()" for key in default.keywords if key.arg == "default_factory"]
        default = ast.parse(made[0], mode="eval").body if made else None
    kind = f": {ast.unparse(annotation)}" if annotation else ""
    return f"{name}{kind}" + (f" = {ast.unparse(default)}" if default else "")


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in OPERATORS


def fields(found: Found) -> str:
    """The fields of a dataclass or named tuple as a signature; empty for other classes."""
    node = found.node
    assert isinstance(node, ast.ClassDef)
    made_of_fields = [*map(ast.unparse, node.decorator_list), *map(ast.unparse, node.bases)]
    if not any(word.startswith(("dataclass", "NamedTuple")) for word in made_of_fields):
        return ""
    only_named = ["*"] if any("kw_only=True" in word for word in made_of_fields) else []
    return f"({', '.join([*only_named, *fields_of(found).values()])})"


def fields_of(found: Found) -> dict[str, str]:
    """A class's annotated names as arguments, its bases' first."""
    chosen = {name: field for base in bases(found) for name, field in fields_of(base).items()}
    for line in found.node.body if isinstance(found.node, ast.ClassDef) else []:
        if isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.unparse(line.annotation):
            chosen[name_of(line)] = argument(name_of(line), line.annotation, line.value)
    return chosen


def bases(found: Found) -> list[Found]:
    """The classes that a class inherits from, as far as they are ours."""
    written = found.node.bases if isinstance(found.node, ast.ClassDef) else []
    above = [definition(found.module, ast.unparse(base).split("[")[0]) for base in written]
    return [one for one in above if isinstance(one.node, ast.ClassDef)]


def is_exported(found: Found) -> bool:
    name, package = name_of(found.node), found.module.split(".")[0]
    return name in exports(package) or name in SECTIONS.get(found.module, ())


def name_of(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name
    return ast.unparse(targets(node)[0]) if isinstance(node, ast.Assign | ast.AnnAssign) else ""


def definition(module: str, name: str) -> Found:
    """Where a module's name is defined, through imports from our own packages."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Found(module, node)
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in map(ast.unparse, targets(node)):
            return Found(module, node)
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            ours = node.module is not None and (ROOT / node.module.split(".")[0]).is_dir()
            return definition(str(node.module), name) if ours else Found(module, node)
    return Found(module, ast.Pass())  # of another library


def targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def exports(module: str) -> list[str]:
    """The names of ``__all__``."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


@cache
def tree_of(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def first_paragraph(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())


def block(indent: int, code: str, text: str) -> str:
    """Code, broken between arguments, and below it, further in, the text that explains it."""
    for kept in (": ", " = ", " | ", "-> "):
        code = code.replace(kept, kept.replace(" ", "\0"))
    first, inner, further = (" " * (indent + more) for more in (0, 4, 8))
    lines = [fill(code, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False)]
    if text:
        lines.append(fill(text, WIDTH, initial_indent=inner, subsequent_indent=inner))
    return "\n".join(lines).replace("\0", " ") + "\n"


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
