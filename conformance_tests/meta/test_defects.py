"""Every seeded defect is caught, and by the test that is made for it.

pytest conformance_tests/meta --backend torch
"""

import pytest

from conformance_tests.meta.defects import DEFECTS, Seeder

LADDER = "conformance_tests/ladder"
SLOW = ("compiled", "dtypes")
"""Rungs that no defect needs, as `test_no_defect_needs_them` sees to."""


class FailedTests:
    """Collects failures of a run of pytest inside this one."""

    def __init__(self):
        self.names = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            module, name = report.nodeid.split("/")[-1].split("::", 1)
            self.names.append(f"{module.removesuffix('.py')}::{name.split('[')[0]}")


def climb(backend, case):
    """The first test that fails."""
    failed = FailedTests()
    skipped = [f"--ignore={LADDER}/test_{rung}.py" for rung in SLOW]
    options = ["-x", "-q", "--backend", backend, "--case", case, "-p", "no:cacheprovider", *skipped]
    status = pytest.main([LADDER, *options], plugins=[failed])
    assert status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return failed.names


def pytest_generate_tests(metafunc):
    if "defect" in metafunc.fixturenames:
        backend = metafunc.config.getoption("--backend")
        metafunc.parametrize("defect", [name for name, defect in DEFECTS.items() if backend in defect.backends])


def test_defect_is_caught(defect, pytestconfig, monkeypatch):
    backend = pytestconfig.getoption("--backend")
    monkeypatch.chdir(pytestconfig.rootpath)
    DEFECTS[defect].seed(Seeder(backend, monkeypatch))
    assert climb(backend, DEFECTS[defect].case) == [DEFECTS[defect].caught_by]


def test_there_is_none_without_a_defect(pytestconfig, monkeypatch):
    monkeypatch.chdir(pytestconfig.rootpath)
    assert climb(pytestconfig.getoption("--backend"), "base") == []


def test_no_defect_needs_them():
    assert not any(defect.caught_by.startswith(f"test_{rung}::") for defect in DEFECTS.values() for rung in SLOW)
