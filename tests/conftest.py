import hypothesis
import pytest

# The first call of a kernel compiles or loads it, so no single example has a meaningful deadline.
hypothesis.settings.register_profile("nlsq", deadline=None)
hypothesis.settings.load_profile("nlsq")


@pytest.fixture
def no_routes(monkeypatch):
    """Forget what other tests and earlier runs have found out about functions."""
    from nlsq.compiler import routes

    monkeypatch.setattr(routes._marker, "exists_on_disk", lambda self: False)
    routes.forget()
    yield
    routes.forget()
