"""The promises that only the running platform can answer. To add one, add a file here; see drills/promise.py."""
