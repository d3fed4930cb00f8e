"""The promises that can be judged from a journal alone. To add one, add a file here; see drills/promise.py."""
