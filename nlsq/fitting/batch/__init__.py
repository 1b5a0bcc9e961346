"""`fit_batch` and its result: many fits of one model. The call is in `call`, the ways to solve are in `routes`."""
