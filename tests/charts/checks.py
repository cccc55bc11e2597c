"""Runs what is named check_…, counts, and reports."""

import time
import traceback


class Tally:
    def __init__(self):
        self.passed, self.failed = 0, []

    def run(self, module, name, check, binary):
        what = f"{module}: {name.removeprefix('check_').replace('_', ' ')}"
        before = time.monotonic()
        try:
            count = check(binary)
            self.passed += 1
            print(f"ok     {what}" + (f" ({count})" if count else "") + f", {time.monotonic() - before:.1f} s", flush=True)
        except Failed as failed:
            self.failed.append(what)
            print(f"FAILED {what}\n{failed}", flush=True)
        except Exception:
            self.failed.append(what)
            print(f"FAILED {what}\n{traceback.format_exc()}", flush=True)

    def report(self):
        print(f"{self.passed} passed, {len(self.failed)} failed")
        return bool(self.failed) or self.passed == 0


class Failed(Exception):
    """A rule does not hold."""


def holds(condition, message):
    if not condition:
        raise Failed(f"       {message}")
