"""`fit_batch` and `fit` for Dask arrays: the work is done where the data are."""
