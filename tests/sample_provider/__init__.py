"""A provider that is complete and does nothing: containers on paper. See tests/test_sample_provider.py."""
