"""The promises that a journal alone can tell. To add one, add a file here; see drills/promise.py."""
