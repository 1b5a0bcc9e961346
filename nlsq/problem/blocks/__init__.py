"""Problems made of residual blocks over parameter blocks."""
