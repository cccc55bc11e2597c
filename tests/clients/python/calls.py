"""What the drivers share: run a client's calls side by side and print one JSON line for each."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

URL = os.environ["SIDEKEY_URL"]
TLS = os.environ["SIDEKEY_TLS"]  # host:port
TOKEN = os.environ["SIDEKEY_TOKEN"]  # what a legacy client has as its key: 32 characters

# Enough to overlap, few enough that submits spread over the edits of the key file.
AT_ONCE = 12

# A picture as multipart parsers fear it: binary, with line ends and dashes.
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x64\x00\x00\x00\x20\x08\x02\x00\x00\x00"
    + b"\r\n--\r\n\x00\xff&key=+%=" * 100
)

PAGE = "https://example.com/page?a=1&b=%20"
SITEKEY = "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64)"


class Calls:
    def __init__(self, client):
        self.client = client
        self.pool = ThreadPoolExecutor(AT_ONCE)
        self.running = []

    def add(self, call, act):
        """`act` returns what is worth reading in the line, or raises."""
        self.running.append(self.pool.submit(self._run, call, act))

    def finish(self):
        sys.exit(not all([run.result() for run in self.running]))

    def _run(self, call, act):
        try:
            line = {"client": self.client, "call": call, "ok": True, "detail": str(act())}
        except Exception as error:  # whatever a client raises is the result of its call
            line = {"client": self.client, "call": call, "ok": False, "detail": f"{type(error).__name__}: {error}"}
        # One write a line: drivers share the pipe of their threads.
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        return line["ok"]


def solved(task, answer):
    """The sandbox's answer names its task, in every shape of answer."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    assert f"solved-{task}" in text, f"task {task} was answered {text}"
    return text


def refused(code, act):
    """The call must fail, and the client must be able to read why."""
    try:
        answer = act()
    except Exception as error:
        assert code in str(error), f"expected {code}, got {type(error).__name__}: {error}"
        return code
    raise AssertionError(f"expected {code}, got the answer {answer!r}")


def public_methods(of, besides):
    """All that the client offers: a method that a new version adds is called too."""
    names = {name for name in dir(of) if not name.startswith("_") and callable(getattr(of, name))}
    missing = besides - names
    assert not missing, f"{of.__name__} no longer has {missing}"
    return sorted(names - besides)
