"""All of SciPy's own tests of `least_squares`, on ours."""

import pytest
from installed_scipy import adopt

adopt("test_least_squares", globals())

pytestmark = pytest.mark.filterwarnings("default")
