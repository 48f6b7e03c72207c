"""A save that is killed at any moment leaves the old checkpoint or the new one, whole and loadable."""

import json
import os
import subprocess
import sys

import pytest

SINGLE, SHARDS, MORE_SHARDS = "5GB", "40KB", "25KB"
RANDOM_KILLS = 25


@pytest.mark.parametrize(
    ("old", "new"), [(SINGLE, SINGLE), (SINGLE, SHARDS), (SHARDS, SINGLE), (SHARDS, SHARDS), (MORE_SHARDS, SHARDS)]
)
def test_a_killed_save_leaves_a_whole_checkpoint(tmp_path, old, new):
    words = [sys.executable, "-m", "clip_core.tests.checkpoint.kill_saves", str(tmp_path / "checkpoint"), old, new]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*words, str(RANDOM_KILLS)], capture_output=True, text=True, env=one_thread)
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert set(outcomes) == {"old", "new"}
    chosen = outcomes[:-RANDOM_KILLS]  # one kill per access to a file; the last save was not killed
    assert chosen == sorted(chosen, key=["old", "new"].index)
    kills = f"{len(chosen)} chosen and {RANDOM_KILLS} random kills"
    print(f"{kills}: {outcomes.count('old')} old, {outcomes.count('new')} new")
