"""What ``import clip_onnx`` does where it cannot work, and what it brings with it where it can."""

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_missing_package_is_named_with_the_extra():
    done = run("import sys; sys.modules['onnxruntime'] = None; import clip_onnx")
    last_line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "MissingExtraError: clip_onnx needs 'onnxruntime'" in last_line
    assert "pip install 'triclip[onnx]'" in last_line


def test_no_framework_is_imported():
    done = run(
        "import sys, numpy, clip_onnx; model = clip_onnx.CLIPModel.from_pretrained('triclip-emoji'); "
        "model.get_text_features(numpy.array([[5, 3071]])); "
        "assert not {'torch', 'tensorflow', 'keras', 'jax', 'flax', 'onnx'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
