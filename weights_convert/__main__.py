"""``python -m weights_convert convert ...``: the same commands as ``triclip convert ...``."""

from clip_apps.cli import main

main(prog_name="python -m weights_convert")
