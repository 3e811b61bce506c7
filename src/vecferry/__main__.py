"""`python -m vecferry`."""

from vecferry.cli import main

main()
