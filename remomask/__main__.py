"""`python -m remomask`: the command `remomask` where its folder is not searched."""

from remomask.commands import main

if __name__ == "__main__":
    main()
