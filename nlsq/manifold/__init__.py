"""Parameter blocks that are not vectors: rotations, rigid motions, spheres, with their own way of taking a step."""

from nlsq.manifold.protocol import Manifold
from nlsq.manifold.rigid import SE2, SE3
from nlsq.manifold.rotation import SO3, UnitQuaternion
from nlsq.manifold.sphere import Sphere

__all__ = ["SE2", "SE3", "SO3", "Manifold", "Sphere", "UnitQuaternion"]
