"""Every seeded defect is caught, and by the test that is made for it.

pytest conformance_tests/meta --backend torch
"""

import pytest

from conformance_tests.conftest import below
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


def climb(backend, case, rung, test=""):
    """The tests that fail, of a rung (or one test of it) and those that it stands on: all of the lowest broken one."""
    failed = FailedTests()
    modules = [f"{LADDER}/test_{name}.py" for name in dict.fromkeys(below(rung))]
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
        metafunc.parametrize("defect", [name for name, defect in DEFECTS.items() if backend in defect.backends])


def test_defect_is_caught(defect, pytestconfig, monkeypatch):
    backend = pytestconfig.getoption("--backend")
    monkeypatch.chdir(pytestconfig.rootpath)
    module, test = DEFECTS[defect].caught_by.split("::")
    DEFECTS[defect].seed(Seeder(backend, monkeypatch))
    failed = climb(backend, DEFECTS[defect].case, module.removeprefix("test_"), test)
    assert set(failed) == {DEFECTS[defect].caught_by}, "a lower rung broke, or nothing did"


@pytest.mark.parametrize("rung", ["distributed", "gradients", "round_trip", "dtypes", "traps"])
def test_nothing_is_caught_without_a_defect(rung, pytestconfig, monkeypatch):
    """The highest rungs with those below them: all that defects are caught by."""
    monkeypatch.chdir(pytestconfig.rootpath)
    assert climb(pytestconfig.getoption("--backend"), "base", rung) == []
