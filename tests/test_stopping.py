"""Signals are noted, a second Ctrl-C acts, and nothing stays behind."""

import os
import signal
import time

import pytest

from contextual_attention.models.training.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_only_a_second_ctrl_c_acts(number):
    came = []
    before = signal.signal(number, lambda *_: came.append("acted"))
    try:
        with StopRequest() as request:
            assert not request.is_set
            os.kill(os.getpid(), number)
            assert request.is_set
            assert came == []
            os.kill(os.getpid(), number)
            assert came == (["acted"] if number == signal.SIGINT else [])
    finally:
        signal.signal(number, before)


def test_ctrl_c_after_sigterm_is_the_first():
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.is_set
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_time_that_is_over():
    now = time.monotonic()
    assert not StopRequest().is_late
    assert not StopRequest(now + 3600).is_late
    assert StopRequest(now).is_late


def test_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
