"""The worker pool: results, crashed workers, and shutdown."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from waiting import wait_until
from worker_jobs import die, die_once, square, thread_settings

from ammup.errors import InputError
from ammup.experiments.pool import InProcess, LocalPool, usable_cores, worker_pool

kills = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


def test_a_single_worker_is_the_current_process_with_one_thread() -> None:
    with worker_pool(None, 1) as pool:
        assert sorted(pool.map_unordered(square, range(5))) == [0, 1, 4, 9, 16]
        assert pool.call(os.getpid) == os.getpid()
        assert pool.call(torch.get_num_threads) == 1


def test_an_error_in_the_current_process_is_raised_by_the_future() -> None:
    future = InProcess().submit(divmod, 1, 0)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_an_executor_of_the_caller_is_used_and_not_closed() -> None:
    with ThreadPoolExecutor(2) as executor:
        with worker_pool(executor, 8) as pool:
            assert pool.call(threading.get_ident) != threading.get_ident()
            assert sorted(pool.map_unordered(square, range(5))) == [0, 1, 4, 9, 16]
        assert executor.submit(square, 3).result() == 9


@kills
def test_the_job_of_a_killed_worker_is_run_again(tmp_path: Path) -> None:
    markers = [str(tmp_path / name) for name in "ab"]
    with worker_pool(None, 2) as pool:
        assert sorted(pool.map_unordered(die_once, markers)) == markers
        assert pool.call(die_once, str(tmp_path / "c")) == str(tmp_path / "c")


@kills
def test_workers_that_crash_repeatedly_are_reported() -> None:
    with worker_pool(None, 2) as pool, pytest.raises(InputError, match=r"crashed repeatedly.*--workers"):
        list(pool.map_unordered(die, [0]))  # one worker after another


def test_killing_a_pool_ends_its_workers_and_no_other_process() -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    pool = LocalPool(2)
    try:
        pids = [pool.submit(os.getpid).result()]
        pool.submit(time.sleep, 60)
        pool.kill()
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
        assert other.is_alive()
    finally:
        pool.kill()
        other.kill()
        other.join()


def test_starting_a_worker_does_not_set_the_start_method_of_this_process() -> None:
    start_method = multiprocessing.get_start_method(allow_none=True)
    pool = LocalPool(1)
    try:
        assert pool.submit(os.getpid).result() != os.getpid()
        assert multiprocessing.get_start_method(allow_none=True) == start_method
    finally:
        pool.kill()


def test_workers_have_one_thread() -> None:
    with LocalPool(1) as pool:
        assert pool.submit(thread_settings).result() == (1, "1")


def test_usable_cores_is_between_one_and_all() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
