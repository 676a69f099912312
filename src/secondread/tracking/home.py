"""Where a project keeps what is not in MLflow; steps and searches ask here."""

from secondread.storage.home import home

__all__ = ["home"]
