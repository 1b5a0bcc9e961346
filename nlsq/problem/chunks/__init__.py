"""Data that are read in blocks, from memory, files or iterators; see `blocks`."""
