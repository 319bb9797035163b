"""`python -m onward.cli`."""

from onward.cli import main

main(prog_name="onward")
