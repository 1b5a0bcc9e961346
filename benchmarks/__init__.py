"""Benchmarks of nlsq, and the problem collection they share with the tests."""
