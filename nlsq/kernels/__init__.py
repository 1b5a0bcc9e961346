"""The jitted room: every function here is a kernel of pointers and scalars, outputs last."""

from importlib import import_module

KERNEL_MODULES = (
    "dense",
    "robust",
    "bounds",
    "quadratic_model",
    "watchdog",
    "levenberg_marquardt",
    "trust_region",
    "dogleg",
    "line_search",
    "finite_difference",
    "complex_step",
    "exact",
    "curve",
    "covariance",
    "judgement",
    "driver",
    "arrays",
    "batch",
    "coloring",
    "bicoloring",
    "detection",
    "colored_difference",
    "manifold",
    "elimination_tree",
    "supernodes",
    "multifrontal",
    "simplicial",
    "block_loss",
    "block_products",
    "normal_assembly",
    "normal_assembly_sparse",
    "block_preconditioner",
    "ordering",
    "ordering_graph",
    "schur",
    "schur_choice",
    "schur_pattern",
    "bunch_kaufman",
    "bunch_kaufman_panel",
    "bunch_kaufman_pivot",
    "symmetric_product",
)


def import_all() -> None:
    """Import every kernel module, so that all kernels are registered."""
    for name in KERNEL_MODULES:
        import_module(f"nlsq.kernels.{name}")
