"""`python -m tfseg` is the command `tfseg`."""

from tfseg.cli import main

main()
