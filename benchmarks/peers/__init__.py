"""Other solvers, run on the problems of the collections; what is not installed is skipped, with the reason."""
