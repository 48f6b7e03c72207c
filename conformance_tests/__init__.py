"""The suite that proves that every backend gives the same numbers.

pytest conformance_tests --backend torch|tf|flax|onnx
"""
