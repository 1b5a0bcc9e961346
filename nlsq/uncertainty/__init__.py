"""What the data say about the parameters: covariance from a Jacobian. Solves nothing."""

from nlsq.uncertainty.covariance import covariance_from_jacobian, covariance_from_triangle, upper_triangle

__all__ = ["covariance_from_jacobian", "covariance_from_triangle", "upper_triangle"]
