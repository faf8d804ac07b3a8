"""What a step frees is there for the next."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from metfa.training.memory import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(4_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

by_default = new_pages()
keep_freed_memory()
new_pages()
print(by_default, new_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="takes glibc")
def test_memory_that_is_freed_is_not_given_back_to_the_kernel() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    by_default, kept = map(int, ended.stdout.split())
    assert kept < by_default / 4
