"""Checkpoint directories: where they are, what their files are made of, reading and writing."""
