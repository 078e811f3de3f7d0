import threading
from types import SimpleNamespace

import pytest

from tfseg.data.readers import file_scan
from tfseg.data.readers.file_scan import FIRST, scan


@pytest.mark.parametrize("wait", [0.5, 2])
def test_threads_read_the_files_of_slow_drives(wait, monkeypatch):
    threads, clock = [], SimpleNamespace(worked=0, passed=0)
    times = {"thread_time": lambda: clock.worked, "perf_counter": lambda: clock.passed}
    monkeypatch.setattr(file_scan, "time", SimpleNamespace(**times))

    def read(number):
        threads.append(threading.current_thread())
        clock.worked += 1
        clock.passed += 1 + wait
        return number + 1

    assert scan(read, range(3 * FIRST)) == list(range(1, 3 * FIRST + 1))
    others = [thread for thread in threads if thread is not threading.main_thread()]
    assert len(others) == (2 * FIRST if wait > 1 else 0)
