"""Every seeded defect is caught, and by the test that is made for it.

pytest conformance_tests/meta --backend torch|tf|flax|onnx [--climb]

That nothing below that test breaks is shown where a climb takes two seconds, in PyTorch, and of the defects that
PyTorch has not; with ``--climb`` everywhere.
"""

import pytest

from conformance_tests.conftest import below
from conformance_tests.meta import mistakes_of_graphs
from conformance_tests.meta.defects import DEFECTS
from conformance_tests.meta.seeder import Seeder

LADDER = "conformance_tests/ladder"


class FailedTests:
    """Collects failures of a run of pytest inside this one."""

    def __init__(self):
        self.names, self.misspelt = [], []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            crash = report.longrepr.reprcrash
            self.misspelt += [crash] if crash.message.startswith(("AttributeError", "NameError", "TypeError")) else []
            module, name = report.nodeid.split("/")[-1].split("::", 1)
            self.names.append(f"{module.removesuffix('.py')}::{name.split('[')[0]}")


def failures(backend, case, rung, test="", *, climb=True):
    """The tests that fail, of a rung (or one test of it) and those that it stands on: all of the lowest broken one."""
    failed = FailedTests()
    modules = [f"{LADDER}/test_{name}.py" for name in dict.fromkeys(below(rung)) if climb]
    modules.append(f"{LADDER}/test_{rung}.py" + (test and f"::{test}"))
    unneeded = [
        f"-pno:{plugin}" for plugin in ("cacheprovider", "logging", "unraisableexception")
    ]  # a third of the time
    options = ["-q", "--tb=no", "--backend", backend, "--case", case, *unneeded]
    status = pytest.main([*modules, *options], plugins=[failed])
    assert status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    assert not failed.misspelt, "the mistake does not compute"
    return failed.names


def pytest_generate_tests(metafunc):
    if "defect" in metafunc.fixturenames:
        backend = metafunc.config.getoption("--backend")
        known = mistakes_of_graphs.DEFECTS if backend == "onnx" else DEFECTS
        here = {name: defect for name, defect in known.items() if backend in defect.backends}
        metafunc.parametrize("defect", here.values(), ids=here)


def test_defect_is_caught(defect, pytestconfig, monkeypatch):
    backend = pytestconfig.getoption("--backend")
    monkeypatch.chdir(pytestconfig.rootpath)
    module, test = defect.caught_by.split("::")
    cheap = defect.climbs and (backend == "torch" or "torch" not in defect.backends)
    climb = pytestconfig.getoption("--climb") or cheap
    defect.seed(Seeder(backend, monkeypatch))
    failed = failures(backend, defect.case, module.removeprefix("test_"), test, climb=climb)
    assert set(failed) == {defect.caught_by}, "a lower rung broke, or nothing did"


def test_nothing_is_caught_without_a_defect(pytestconfig, monkeypatch):
    """Here; that nothing is on the higher rungs either is what the ladder's own run shows."""
    monkeypatch.chdir(pytestconfig.rootpath)
    assert failures(pytestconfig.getoption("--backend"), "base", "loss") == []
