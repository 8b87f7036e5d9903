"""For all tests: hypothesis judges answers, not how long a busy machine takes for one."""

from hypothesis import settings

settings.register_profile("xdpflannel", deadline=None)
settings.load_profile("xdpflannel")
