"""Comparisons of Triclip with other libraries; not part of the suite that others run."""
