"""``python -m triclip`` is the `triclip` command."""

from triclip.cli import main

main()
