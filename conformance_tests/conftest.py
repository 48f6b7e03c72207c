"""Switches and fixtures of the ladder, the rule that a failure points at the lowest broken rung, and the summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conformance_tests.threads import ONE_THREAD

os.environ.update({name: value for name, value in ONE_THREAD.items() if name not in os.environ})  # before NumPy comes

from clip_core.config import CLIPConfig
from conformance_tests.adapter import BACKENDS, config_of, load_adapter, specs_of
from conformance_tests.cases import CONFIGS, EMBEDDED, LADDER, RESNETS, Case, checkpoint_case, named_case
from conformance_tests.comparison import Comparison
from conformance_tests.tolerances import TOLERANCES
from conformance_tests.versions import environment_line

RUNGS: dict[str, tuple[str, ...]] = {
    "names": (),
    "shapes": ("names",),
    "layers": ("shapes",),
    "blocks": ("layers",),
    "resnet_layers": ("shapes",),
    "stages": ("resnet_layers",),
    "towers": ("blocks", "stages"),
    "classification": ("towers",),
    "hidden_states": ("towers",),
    "logits": ("towers",),
    "padding": ("towers",),
    "loss": ("logits",),
    "distributed": ("loss",),
    "gradients": ("loss",),
    "step": ("gradients",),
    "statistics": ("step",),
    "round_trip": ("names",),
    "positions": ("round_trip", "towers"),
    "compiled": ("logits",),
    "dtypes": ("logits",),
    "traps": ("logits", "hidden_states"),
}
"""Each rung, which is one module of ``ladder``, with the rungs that it stands on."""

RUNG_MODULES = Path(__file__).parent / "ladder"
_USAGE = (
    f"the ladder tests one backend per process: pytest conformance_tests --backend {'|'.join(BACKENDS)} "
    "(or --backend package.module for one of your own)"
)

comparison_key = pytest.StashKey[Comparison]()
broken_key = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--backend", help=f"{', '.join(BACKENDS)}, or a module with an adapter's functions")
    group.addoption("--checkpoint", type=Path, help="climb with this checkpoint directory, not with the own cases")
    group.addoption("--case", action="append", choices=[*CONFIGS, *RESNETS, EMBEDDED], help="only these cases")
    group.addoption("--climb", action="store_true", help="meta: run all rungs below the test that catches a defect")
    group.addoption("--all-rungs", action="store_true", help="also run rungs above a broken one")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[comparison_key] = Comparison()
    config.stash[broken_key] = {}


def pytest_report_header(config: pytest.Config) -> str:
    """A report says what it was made with."""
    return f"conformance: {environment_line(config.getoption('--backend', None))}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--backend`` only the ladder runs: other tests here need other frameworks, or none."""
    here = Path(__file__).parent
    if not config.getoption("--backend", None) or here not in collection_path.parents:
        return None
    named = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    wanted = [RUNG_MODULES, *(path for path in named if here in path.parents)]
    inside = any(path in (collection_path, *collection_path.parents) for path in wanted)
    return None if inside or any(collection_path in path.parents for path in wanted) else True


@pytest.hookimpl(trylast=True)  # after pytest has grouped tests by their cases
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The ladder without a backend is an error, not a skip; its rungs run in order."""
    if any(rung_of(item) for item in items):
        name = config.getoption("--backend", None)
        if not name:
            raise pytest.UsageError(_USAGE)
        try:
            load_adapter(name)
        except (ValueError, ImportError) as error:
            raise pytest.UsageError(f"--backend {name}: {error}") from None
    order = list(RUNGS)
    items.sort(key=lambda item: order.index(rung_of(item)) if rung_of(item) else -1)


def rung_of(item: pytest.Item) -> str:
    """The rung that a test belongs to, or nothing."""
    return item.path.stem.removeprefix("test_") if item.path.parent == RUNG_MODULES else ""


def below(rung: str) -> Iterator[str]:
    """The rungs that a rung stands on, lowest first."""
    for lower in RUNGS[rung]:
        yield from below(lower)
        yield lower


def pytest_runtest_setup(item: pytest.Item) -> None:
    broken = item.config.stash[broken_key]
    if rung_of(item) and not item.config.getoption("--all-rungs"):
        lowest = next((rung for rung in below(rung_of(item)) if rung in broken), None)
        if lowest:
            pytest.skip(f"lower rung '{lowest}' is broken: {broken[lowest]} (--all-rungs runs this anyway)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed and rung_of(item):
        item.config.stash[broken_key].setdefault(rung_of(item), item.name)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    largest = config.stash[comparison_key].largest
    if not largest:
        return
    terminalreporter.section(f"largest errors, backend {config.getoption('--backend')}")
    for measure in TOLERANCES:
        if measure in largest:
            error, what = largest[measure]
            terminalreporter.line(f"{measure:<32} {error:9.2e}  of {TOLERANCES[measure].limit:7.1e}  {what}")
    broken = config.stash[broken_key]
    lowest = next((rung for rung in RUNGS if rung in broken), None)
    if lowest:
        terminalreporter.line(f"lowest broken rung: {lowest} ({broken[lowest]})", red=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test gets the cases of its fixture, of those that were chosen, or of the checkpoint that was given."""
    chosen = [metafunc.config.getoption("--checkpoint")]
    if chosen == [None]:
        name = metafunc.config.getoption("--backend")
        resnets = RESNETS if not name or getattr(load_adapter(name), "RESNETS", True) else ()
        chosen = metafunc.config.getoption("--case") or [*LADDER, *resnets, EMBEDDED]
    kinds = {kind: [case for case in chosen if _has_resnet(case) == kind] for kind in (False, True)}
    fixtures = {
        "case": chosen,
        "base": chosen[:1],
        "vit": kinds[False],
        "vit_base": kinds[False][:1],
        "resnet": kinds[True],
        "each_tower": [*kinds[False][:1], *kinds[True][:1]],
    }
    for name, values in fixtures.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values, indirect=True, scope="session", ids=str)


def _has_resnet(chosen: Path | str) -> bool:
    if isinstance(chosen, Path):
        return CLIPConfig.from_directory(chosen).vision_config.is_resnet
    return chosen in RESNETS


@cache
def _case(chosen: Path | str) -> Case:
    return checkpoint_case(chosen) if isinstance(chosen, Path) else named_case(chosen)


def _chosen_case(meaning: str) -> Any:
    def chosen_case(request: pytest.FixtureRequest) -> Case:
        return _case(request.param)

    chosen_case.__doc__ = meaning
    return pytest.fixture(scope="session")(chosen_case)


case = _chosen_case("Each model of the ladder.")
base = _chosen_case("The first model of the ladder.")
vit = _chosen_case("Each whose vision tower is a transformer.")
vit_base = _chosen_case("The first whose vision tower is a transformer.")
resnet = _chosen_case("Each whose vision tower is a ResNet.")
each_tower = _chosen_case("The first with a transformer and the first with a ResNet.")


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> Any:
    """The adapter module; a test that asks for what it says that it is without is skipped, with the reason."""
    adapter = load_adapter(pytestconfig.getoption("--backend"))
    return _Partial(adapter, adapter.WITHOUT) if hasattr(adapter, "WITHOUT") else adapter


class _Partial:
    """An adapter without some of the functions."""

    def __init__(self, adapter: Any, without: Mapping[str, str]) -> None:
        self._adapter, self._without = adapter, without

    def __getattr__(self, name: str) -> Any:
        if name in self._without:
            pytest.skip(f"the backend says that it is without {name!r}: {self._without[name]}")
        return getattr(self._adapter, name)


@pytest.fixture(scope="session")
def compare(pytestconfig: pytest.Config) -> Comparison:
    """Compares and records."""
    return pytestconfig.stash[comparison_key]


@pytest.fixture(scope="session")
def model_of(backend: Any) -> Callable[[Case], Any]:
    """The full model of a case in the backend, built once."""
    return cache(lambda case: backend.build("model", case.config, case.weights))


@pytest.fixture(scope="session")
def part_of(backend: Any) -> Callable[[Case, str], Any]:
    """A tower of a case in the backend, by its kind, built once."""

    def build(case: Case, kind: str) -> Any:
        weights = {spec.name: case.weights[spec.name] for spec in specs_of(kind, case.config)}
        return backend.build(kind, config_of(kind, case.config), weights)

    return cache(build)
