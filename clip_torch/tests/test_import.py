"""What ``import clip_torch`` does where it cannot work."""

import subprocess
import sys


def test_a_missing_package_is_named_with_the_extra():
    code = "import sys; sys.modules['torch'] = None; import clip_torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last_line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "MissingExtraError: clip_torch needs 'torch'" in last_line
    assert "pip install 'triclip[torch]'" in last_line
