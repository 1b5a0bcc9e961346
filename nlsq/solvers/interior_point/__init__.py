"""The interior-point method: what is chosen, its memory, its functions, a solve, and what it leaves behind."""
