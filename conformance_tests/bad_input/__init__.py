"""Everything wrong that people hand over, and the message that each mistake gets.

``python -m conformance_tests.bad_input`` provokes every mistake in every backend, checks the errors and writes
``docs/bad_input.md``.
"""
