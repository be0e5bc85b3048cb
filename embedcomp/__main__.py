"""The command `embedcomp` as `python -m embedcomp`."""

from embedcomp.cli.main import main

main()
