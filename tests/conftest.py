"""What holds for the whole suite."""

import signal

from hypothesis import HealthCheck, settings

# Shells let what they run in the background ignore Ctrl-C, and the programs that tests interrupt
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast examples are made says something of the machine, not of the test.
settings.register_profile("sampan", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("sampan")
