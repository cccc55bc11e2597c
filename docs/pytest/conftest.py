"""A captcha vendor for your tests: `sidekey sandbox` on a free port. Copy this file beside your tests.

Needs a `sidekey` on the PATH, or its path in the variable SIDEKEY. Nothing else is to be installed but pytest.

    def test_my_code(captcha_vendor):
        assert my_code(base_url=captcha_vendor.url, key=captcha_vendor.key) == "ABCDE"
"""

import json
import os
import shutil
import subprocess
import threading
import urllib.request

import pytest

PATIENCE_S = 20


@pytest.fixture(scope="session")
def captcha_sandbox():
    """One for all tests. Use `captcha_vendor`, which forgets what the test before did."""
    program = os.environ.get("SIDEKEY") or shutil.which("sidekey")
    if not program:
        pytest.fail("no sidekey on the PATH, and the variable SIDEKEY is not set")
    process = subprocess.Popen([program, "sandbox", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    # A program that says nothing ends, and with it the reading below.
    watch = threading.Timer(PATIENCE_S, process.kill)
    watch.start()
    first = process.stdout.readline()
    watch.cancel()
    try:
        if not first.startswith("listening on "):
            pytest.fail(f"{program} sandbox did not start; its first line was {first!r}")
        yield Sandbox("http://" + first.removeprefix("listening on ").strip())
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()


@pytest.fixture
def captcha_vendor(captcha_sandbox):
    """The sandbox as it is at its start: three accounts, no faults, nothing submitted."""
    captcha_sandbox.control("POST", "reset")
    return captcha_sandbox


class Sandbox:
    """docs/sandbox.md says what each of these can do."""

    def __init__(self, url):
        self.url = url
        self.keys = [account["key"] for account in self.control("GET", "accounts")["accounts"]]
        self.key = self.keys[0]

    def account(self, name="account-1", **changes):
        """`solve_ms=0`, `answer="ABCDE"`, `balance_micros=0`, `threads=1`, `enabled=False`: for tasks to come."""
        return self.control("POST", f"accounts/{name}", changes)

    def fault(self, kind, *, endpoint=None, times=1, where=None, **fields):
        """`fault("code", endpoint="in.php", code="ERROR_ZERO_BALANCE")`; `where` has what else chooses the calls."""
        chosen = {"endpoint": endpoint, "times": times, **(where or {})}
        rule = {name: value for name, value in chosen.items() if value is not None}
        return self.control("POST", "faults", {**rule, "fault": {"kind": kind, **fields}})

    def calls(self, **which):
        """What arrived, the oldest first: `calls(endpoint="in.php")`."""
        query = "&".join(f"{name}={value}" for name, value in which.items())
        return self.control("GET", f"record?{query}")["calls"]

    def ledger(self):
        """Tasks made, solved, failed, and money charged, for each account."""
        return self.control("GET", "ledger?tasks=1")

    def control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data=data, method=method)
        # No proxy of the environment: the sandbox is on this host.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None
