"""A cluster of two worker processes, as tests of Dask use it."""

import contextlib
import warnings


@contextlib.contextmanager
def two_processes():
    """Start the cluster and make it the default of Dask; close both at the end."""
    from distributed import Client, LocalCluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # sockets of distributed itself, when it is closed
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            yield client
