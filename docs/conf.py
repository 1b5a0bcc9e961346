import re
from pathlib import Path

project = "nlsq"
author = "the nlsq developers"
release = re.search(
    r'^__version__ = "(.+)"$', (Path(__file__).parents[1] / "nlsq" / "__init__.py").read_text(), re.MULTILINE
).group(1)

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
