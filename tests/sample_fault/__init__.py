"""A folder with one more kind of fault. See tests/drills/test_fault.py."""
