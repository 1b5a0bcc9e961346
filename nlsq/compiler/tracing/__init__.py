"""Calling a function once on symbolic arrays that record what is done to them."""
