"""Judges a drill from its journal alone: history, gaps, promises, verdict. It knows nothing about the platform."""
