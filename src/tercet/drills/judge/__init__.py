"""What a journal proves: history, gaps, promises, verdict. Knows the journal and not the platform."""
