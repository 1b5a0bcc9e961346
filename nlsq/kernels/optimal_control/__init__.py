"""Optimal control: stages joined by dynamics, solved by Gauss-Newton SQP whose quadratic programs go by Riccati."""
