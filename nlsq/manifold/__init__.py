"""Parameter blocks that are not vectors: rotations, rigid motions, spheres, with their own way of taking a step."""
