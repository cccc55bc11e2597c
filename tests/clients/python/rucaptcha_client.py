"""python-rucaptcha to CaptchaAI, sync and async: multipart for everything, polls too; solve.php for pictures."""

import asyncio

from python_rucaptcha.captchaai import CaptchaAI, CaptchaAIFile
from python_rucaptcha.core.captchaai import _metadata

from calls import PAGE, PNG, SITEKEY, TOKEN, URL, Calls, solved

FIELDS = {
    "body": "iVBORw0KGgo" + "AAAA" * 100 + "+/8=",
    "instructions": "traffic lights",
    "grid_size": "3x3",
    "googlekey": SITEKEY,
    "sitekey": SITEKEY,
    "pageurl": PAGE,
    "gt": "f1ab2cdefa3456789012345b6c78d90e",
    "challenge": "12345678abc90123d45678ef90123a456b",
    "captcha_id": "CROPPED_d3d4d56_73ca4008925b4f83a8bed59c2dd0df6d",
    "proxy": "user:secret@127.0.0.1:3128",
    "proxytype": "HTTP",
    **{f"image_base64_{at}": "data:image/png;base64,iVBORw0KGgo" for at in range(1, 10)},
}


def client(profile=None, method=None, params=None, files=None):
    one = CaptchaAI(TOKEN, method, params, files=files, profile=profile, sleep_time=1)
    # It has no option for the address; these two fields are what its own constructor fills.
    one.options.url_request, one.options.url_response = f"{URL}/in.php", f"{URL}/res.php"
    return one


def of_profile(name):
    profile = _metadata()["profiles"][name]
    files = {field: CaptchaAIFile(PNG, "cap.png", "image/png") for field in profile.get("file_fields", [])}
    defaults = profile.get("defaults", {})
    params = {field: FIELDS[field] for field in profile["required"] if field not in files and field not in defaults}
    return client(name, params=params, files=files)


def ready(result):
    assert result["errorId"] == 0, result
    solution = result["solution"]
    if result["taskId"] is None:  # solve.php answers at once and names no task
        assert "solved-" in str(solution), result
        return solution
    return solved(result["taskId"], solution)


def balance(result):
    assert float(result["balance"]) > 0, result
    return result


def threads(result):
    assert int(result["threads"]) > 0 and int(result["working_threads"]) >= 0, result
    return result


def unknown_method():
    """A method that no profile knows passes unchanged."""
    return ready(client(method="of_tomorrow", params={"challenge_key": "not-a-key", "key2": "neither"}).captcha_handler())


calls = Calls("python-rucaptcha")
for name in CaptchaAI.profiles():
    calls.add(f"captcha_handler {name}", lambda name=name: ready(of_profile(name).captcha_handler()))
    calls.add(f"aio_captcha_handler {name}", lambda name=name: ready(asyncio.run(of_profile(name).aio_captcha_handler())))
calls.add("captcha_handler without a profile", unknown_method)
calls.add("get_balance", lambda: balance(client("turnstile").get_balance()))
calls.add("aio_get_balance", lambda: balance(asyncio.run(client("turnstile").aio_get_balance())))
calls.add("get_threads_info", lambda: threads(client("turnstile").get_threads_info()))
calls.add("aio_get_threads_info", lambda: threads(asyncio.run(client("turnstile").aio_get_threads_info())))
calls.finish()
