"""`python -m secondread VERB`."""

from secondread.cli import main

if __name__ == "__main__":
    main()
