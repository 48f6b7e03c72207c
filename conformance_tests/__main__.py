"""``python -m conformance_tests --backend torch|tf|flax|onnx [--checkpoint DIR]``: the suite, where it is installed."""

import sys
from pathlib import Path

import pytest

sys.exit(pytest.main([str(Path(__file__).parent), "-p", "no:cacheprovider", *sys.argv[1:]]))
