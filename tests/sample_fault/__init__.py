"""A folder with one more kind of fault. See tests/drills/scenario/test_fault.py."""
