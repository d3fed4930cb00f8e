"""The kinds of faults. To add one, add a file here; see scenario/fault.py."""
