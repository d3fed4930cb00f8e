"""The sources of components' programs: one per file. Each implements source.Source."""
