"""`python -m edgeinfer`: the command, of this Python's edgeinfer."""

from edgeinfer.cli.main import console

if __name__ == "__main__":
    console()
