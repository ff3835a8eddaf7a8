"""What holds for the whole suite."""

import signal

# Shells let what they run in the background ignore Ctrl-C, and the programs that tests interrupt
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
