"""``python -m weights_convert convert ...``: the same commands as ``triclip convert ...``."""

from clip_core.commands import CommandGroup
from weights_convert.cli import convert, diff, inspect, verify

main = CommandGroup(commands=[convert, inspect, diff, verify])

if __name__ == "__main__":
    main(prog_name="python -m weights_convert")
