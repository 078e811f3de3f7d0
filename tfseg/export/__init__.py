"""Artifacts of a trained model, written whole or not at all."""

from tfseg.export.saved_model import saved_model, serve_command

__all__ = ["saved_model", "serve_command"]
