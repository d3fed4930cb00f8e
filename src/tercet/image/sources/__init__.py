"""Where a component's programs come from: one source a file, all with the shape of source.Source."""
