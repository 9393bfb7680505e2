"""``python -m ammup`` is the command ``ammup``."""

from ammup.cli import main

main()
