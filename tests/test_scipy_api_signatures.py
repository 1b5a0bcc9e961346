"""The three functions take what SciPy's take, in the same order and with the same defaults."""

import inspect

import pytest
from test_scipy_api_helpers import NAMES, OURS, SCIPY, as_scipy_1_17


@as_scipy_1_17
@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_defaults(name):
    expected = inspect.signature(getattr(SCIPY, name)).parameters.values()
    actual = inspect.signature(getattr(OURS, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in actual] == [(p.name, p.kind, p.default) for p in expected]


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_documented(name):
    function = getattr(OURS, name)
    documented = function.__doc__.split("Returns\n")[0]
    for parameter in inspect.signature(function).parameters:
        assert parameter in documented
