"""`fit` over very many points, block by block; see `call`."""
