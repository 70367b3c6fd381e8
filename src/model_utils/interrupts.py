"""Handles Ctrl-C while MindSpore runs a graph.

MindSpore's own handler then takes SIGINT and sends its process a SIGTERM, so that a program cannot tell which of the
two a user sent. Here no thread takes SIGINT but one, which waits for it and tells the main thread.
"""
from __future__ import annotations

import _thread
import os
import signal
import threading
from multiprocessing import resource_tracker

GRACE = 3.0     # seconds that a second Ctrl-C leaves to the main thread, which may be in a graph


def block_interrupts() -> None:
    """Handle Ctrl-C in Python, whatever MindSpore does. To be called before any thread is started (importing numpy
    starts some), since a thread that was there before would still take the signal. While MindSpore compiles a graph it
    keeps Python's lock, so that Ctrl-C waits for the end of that. Does nothing on Windows."""
    if not hasattr(signal, "sigwait"):
        return
    resource_tracker.ensure_running()   # it unblocks SIGINT when it starts, with the first pool of processes
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGURG, lambda *_: None)   # with a handler it ends what the main thread waits for
    threading.Thread(target=_pass_on, daemon=True).start()


def _pass_on() -> None:
    main, count = threading.main_thread().ident, 0
    assert main is not None
    while True:
        signal.sigwait({signal.SIGINT})
        _thread.interrupt_main()
        signal.pthread_kill(main, signal.SIGURG)
        count += 1
        if count == 2:
            threading.Timer(GRACE, os._exit, (130,)).start()
