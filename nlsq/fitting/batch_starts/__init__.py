"""Start values for each fit of a batch, from its data; see `search`."""
