"""SciPy's own tests of `leastsq` and `curve_fit`, on ours; those of `fsolve`, `root` and `fixed_point` are left out."""

import pytest
from installed_scipy import adopt

adopt("test_minpack", globals(), classes={"TestLeastSq", "TestCurveFit"})

pytestmark = pytest.mark.filterwarnings("default")
