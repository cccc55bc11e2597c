"""How tests with the fixture of conftest.py look. `solve` stands for your code."""

import time
import urllib.parse
import urllib.request

import pytest


class Refused(Exception):
    pass


def call(url, **parameters):
    target = f"{url}?{urllib.parse.urlencode(parameters)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(target, timeout=10) as answer:
        return answer.read().decode()


def solve(base_url, key, between_polls=0.05, patience=10):
    """Your code: it takes the vendor's address as an argument."""
    answer = call(f"{base_url}/in.php", key=key, method="userrecaptcha", googlekey="x", pageurl="http://example.com")
    if not answer.startswith("OK|"):
        raise Refused(answer)
    task = answer.removeprefix("OK|")
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        answer = call(f"{base_url}/res.php", key=key, action="get", id=task)
        if answer.startswith("OK|"):
            return answer.removeprefix("OK|")
        if answer != "CAPCHA_NOT_READY":
            raise Refused(answer)
        time.sleep(between_polls)
    raise TimeoutError(task)


def test_a_captcha_is_solved(captcha_vendor):
    captcha_vendor.account(answer="ABCDE", solve_ms=100)
    assert solve(captcha_vendor.url, captcha_vendor.key) == "ABCDE"


def test_it_polls_until_the_answer_is_there(captcha_vendor):
    captcha_vendor.account(solve_ms=500)
    solve(captcha_vendor.url, captcha_vendor.key)
    polls = captcha_vendor.calls(endpoint="res.php")
    assert len(polls) >= 2
    assert polls[-1]["outcome"] == "OK"


def test_an_empty_account_is_told(captcha_vendor):
    captcha_vendor.fault("code", endpoint="in.php", code="ERROR_ZERO_BALANCE")
    with pytest.raises(Refused, match="ERROR_ZERO_BALANCE"):
        solve(captcha_vendor.url, captcha_vendor.key)


def test_a_task_that_cannot_be_solved_is_told(captcha_vendor):
    captcha_vendor.account(answer="ERROR_CAPTCHA_UNSOLVABLE", solve_ms=0)
    with pytest.raises(Refused, match="ERROR_CAPTCHA_UNSOLVABLE"):
        solve(captcha_vendor.url, captcha_vendor.key)


def test_a_submit_whose_answer_is_lost_is_not_sent_twice(captcha_vendor):
    # The task is made, then the connection breaks: to submit again would pay again.
    captcha_vendor.fault("reset", endpoint="in.php", where={"done": True})
    with pytest.raises(OSError):
        solve(captcha_vendor.url, captcha_vendor.key)
    assert len(captcha_vendor.calls(endpoint="in.php")) == 1
    assert len(captcha_vendor.ledger()["tasks"]) == 1


def test_a_test_finds_nothing_of_the_one_before(captcha_vendor):
    assert captcha_vendor.calls() == []
    assert solve(captcha_vendor.url, captcha_vendor.key).startswith("solved-")
