import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import ctypes, hashlib, os, signal, sys, threading, time
from src.model_utils.interrupts import block_interrupts
if {block}:
    block_interrupts()
from src.entry import run
import numpy
def interrupt(*times):
    for seconds in times:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
"""
# While it runs a graph, MindSpore has its own handler of SIGINT; here SIG_IGN stands in its place.
BEHIND_PYTHONS_BACK = BEGIN + """
def main():
    ctypes.CDLL(None).signal(signal.SIGINT, ctypes.c_void_p(1))
    interrupt(0.2)
    time.sleep(3)
sys.exit(run(main))
"""
# The first pool of processes starts Python's resource tracker, which unblocks SIGINT in the thread that starts it.
BEHIND_A_POOL = BEGIN + """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def main():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(abs, 1).result()
    ctypes.CDLL(None).signal(signal.SIGINT, ctypes.c_void_p(1))
    interrupt(0.2)
    time.sleep(3)
if __name__ == "__main__":
    sys.exit(run(main))
"""
DEAF = BEGIN + """
def main():
    interrupt(0.2, 0.4)
    hashlib.pbkdf2_hmac("sha256", b"a graph that is", b"compiled", 10 ** 9)
sys.exit(run(main))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("program, block, code", [
    (BEHIND_PYTHONS_BACK, True, 130), (BEHIND_PYTHONS_BACK, False, 0), (BEHIND_A_POOL, True, 130), (DEAF, True, 130)])
def test_ctrl_c_is_heard_whatever_handles_the_signal(program, block, code):
    done = subprocess.run([sys.executable, "-c", program.format(block=block)], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == code, done.stderr
