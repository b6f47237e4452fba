"""Trained models behind an HTTP API that holds in production."""

from bentoml._version import __version__

__all__ = ["__version__"]
