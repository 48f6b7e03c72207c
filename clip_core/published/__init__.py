"""The published models of this family: what each is, how its pictures are made, and where it lies.

``architectures.json`` and ``models.json`` are the table, data that
``python -m conformance_tests.parity.published_models`` makes and compares with open_clip's package (decision 29).
"""
