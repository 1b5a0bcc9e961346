import hypothesis

# The first call of a kernel compiles or loads it, so no single example has a meaningful deadline.
hypothesis.settings.register_profile("nlsq", deadline=None)
hypothesis.settings.load_profile("nlsq")
