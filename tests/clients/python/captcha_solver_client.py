"""captcha-solver: text, urlencoded, a new connection for each call, 5 seconds of patience."""

import time

from captcha_solver import CaptchaSolver, SolutionNotReady

from calls import PNG, TOKEN, URL, Calls, refused, solved


def solver(backend):
    return CaptchaSolver(backend, service_url=URL, api_key=TOKEN)


def solve(backend):
    answer = solver(backend).solve_captcha(PNG, submiting_delay=1, recognition_delay=1)
    assert answer.startswith("solved-"), answer
    return answer


def submit_and_check(backend):
    one = solver(backend)
    task = one.submit_captcha(PNG, numeric=1, min_len=4)
    for _ in range(60):
        try:
            return solved(task, one.check_solution(task))
        except SolutionNotReady:
            time.sleep(1)
    raise TimeoutError(task)


calls = Calls("captcha-solver")
for backend in ("2captcha", "rucaptcha", "antigate"):
    calls.add(f"{backend} solve_captcha", lambda backend=backend: solve(backend))
    calls.add(f"{backend} submit_captcha, check_solution", lambda backend=backend: submit_and_check(backend))
calls.add("check_solution of an unknown task", lambda: refused("ERROR_WRONG_CAPTCHA_ID", lambda: solver("2captcha").check_solution("17")))
calls.finish()
