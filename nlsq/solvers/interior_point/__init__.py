"""The interior-point method: what is chosen (`options`), its memory (`workspace`), its functions (`plan`), a solve
(`state`).
"""
