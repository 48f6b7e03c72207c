"""``python -m clip_apps`` is the `triclip` command."""

from clip_apps.cli import main

main()
