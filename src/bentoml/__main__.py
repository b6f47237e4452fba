"""`python -m bentoml` is the command `bentoml`."""

from __future__ import annotations

from bentoml.cli import main

if __name__ == "__main__":
    main()
