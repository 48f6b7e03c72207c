"""``python -m weights_convert convert ...``: the same commands as ``triclip convert ...``."""

from triclip.cli import main

main(prog_name="python -m weights_convert")
