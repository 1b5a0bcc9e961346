"""Optimal control: problems of stages joined by dynamics, their solver, and controllers that run in real time."""
