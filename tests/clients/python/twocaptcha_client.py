"""2captcha-python, sync and async: only over TLS, text, the key last in the body, files without a content type."""

import asyncio
import inspect
import os
import tempfile
import time

from twocaptcha import AsyncTwoCaptcha, TwoCaptcha
from twocaptcha.solver import NetworkException

from calls import PAGE, PNG, SITEKEY, TLS, TOKEN, USER_AGENT, Calls, public_methods, refused, solved

FOLDER = tempfile.TemporaryDirectory()
PICTURE, SOUND = os.path.join(FOLDER.name, "cap.png"), os.path.join(FOLDER.name, "cap.mp3")
for path in (PICTURE, SOUND):
    with open(path, "wb") as file:
        file.write(PNG)
BASE64 = "iVBORw0KGgo" + "AAAA" * 100 + "+/8="

# What a method requires is taken from here by name.
ARGUMENTS = {
    "file": PICTURE,
    "files": [PICTURE, PICTURE],
    "lang": "en",
    "text": "If tomorrow is Saturday, what day is today? Müller & 50% = ?",
    "sitekey": SITEKEY,
    "url": PAGE,
    "pageurl": PAGE,
    "gt": "f1ab2cdefa3456789012345b6c78d90e",
    "challenge": "12345678abc90123d45678ef90123a456b",
    "captcha_id": "e392e1d7fd421dc63325744d5a2b9c73",
    "div_id": "lemin-cropped-captcha",
    "app_id": "190014885",
    "api_server": "https://example.com/api",
    "iv": "CgAHbCe2GgAAAAAj",
    "context": "9BUgmlm48F92WUoqv97a49ZuEJJ50TCk9MVr3C7WMtQ0X6flVbufM4n8mjFLmbLVAPgaQ1Jydeaja94iAS49ljb+sUNLoukWedAQZKrlY4RdbOOzvcFqmD/ZepQFS9N5w15Exr4VwnVq+HIxTsDJwRviElWCdzKDebN/mk8/eX2n7qJi5G3Riq0tdQw9+C4diFZU5E97RSeahejOAAJTDqduqW6uLw9NsjJBkDRBlRjxjn5CaMMo5pYOxYbGrM8Un1JH5DMOLeXbq1xWbC17YSEoM1cRFfTgOoc+VpCe36Ai9Kc=",
    "misery_key": "a1488b66da00bf332a1488993a5443c79047e752",
    "apikey": "SAb83IIB",
    "s_s_c_user_id": "10",
    "s_s_c_session_id": "493e52c37c10c2bcdf4a00cbc9ccd1e8",
    "s_s_c_web_server_sign": "9006dc725760858e4c0715b835472f22-pz-",
    "s_s_c_web_server_sign2": "2ca3abe86d90c6142d5571db98af6714",
    "steps": "[{\"a\":1}]",
    "redirect_uri": "https://example.com/not_robot?key=not-the-key",
    "userAgent": USER_AGENT,
    "proxy": {"type": "HTTPS", "uri": "user:secret@127.0.0.1:3128"},
    "body": BASE64,
    "images": [BASE64, BASE64],
    "part1": BASE64,
    "part2": BASE64,
    "part3": BASE64,
    "captcha_url": "https://example.com/captcha/?initialCid=AHrlqAAA&t=fe",
    "master_url_id": "OXR2LVNvCuXykkZbB8KZIfh162sNT8S2",
    "validate_id": "cb0bfefa598b4c3887661fde54ecd57b",
    "api_get_lib": "https://example.com/api.js",
    "scene_id": "1ww7426c4",
    "prefix": "dlw3kug",
    "tspd_cookie": "TS386a400d029=082670; TS386a400d078=082670",
    "html_page_base64": BASE64,
    "incapsula_script_url": "/_Incapsula_Resource?SWJIYLWA=719d34d31c8e3a6e6fffd425f7e032f3",
    "incapsula_cookies": "visid_incap_1=a%2Bb; incap_ses_1=c",
}
MORE = {"audio": {"file": SOUND}, "canvas": {"hintText": "draw around the cat"}}
NOT_SOLVING = {
    "balance", "report", "send", "solve", "get_result", "wait_result",
    "get_method", "rename_params", "default_params", "extract_files", "check_hint_img",
}  # fmt: skip


def sync(**options):
    return TwoCaptcha(TOKEN, server=TLS, pollingInterval=1, **options)


def arguments(method):
    parameters = inspect.signature(method).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    return {name: ARGUMENTS[name] for name in names} | MORE.get(method.__name__, {})


def solve(name):
    return answered(getattr(sync(), name)(**arguments(getattr(TwoCaptcha, name))))


def solve_async(name):
    async def run():
        client = AsyncTwoCaptcha(TOKEN, server=TLS, pollingInterval=1)
        return answered(await getattr(client, name)(**arguments(getattr(AsyncTwoCaptcha, name))))

    return asyncio.run(run())


def answered(result):
    return solved(result["captchaId"], result["code"])


def two_steps(**params):
    client = sync()
    task = client.send(**params)
    for _ in range(60):
        try:
            return client, task, solved(task, client.get_result(task))
        except NetworkException:  # its word for not ready
            time.sleep(1)
    raise TimeoutError(task)


def report(correct):
    client, task, _ = two_steps(method="userrecaptcha", googlekey=SITEKEY, url=PAGE)
    recorded = client.report(task, correct)
    assert recorded == "OK_REPORT_RECORDED", recorded
    refused("ERROR_DUPLICATE_REPORT", lambda: client.report(task, correct))
    return recorded


def account_async():
    async def run():
        client = AsyncTwoCaptcha(TOKEN, server=TLS, pollingInterval=1)
        task = await client.send(method="turnstile", sitekey=SITEKEY, url=PAGE)
        answer = await client.wait_result(task, 60, 1)
        assert await client.report(task, True) == "OK_REPORT_RECORDED"
        assert await client.balance() > 0
        return solved(task, answer)

    return asyncio.run(run())


def balance():
    # Four accounts of 10 dollars, or three when one is withdrawn: the sum, never one of them.
    sum_of_keys = sync().balance()
    assert sum_of_keys > 10, sum_of_keys
    return sum_of_keys


def with_callback():
    """A pingback on a submit passes; the client then does not poll."""
    assert sync(callback="https://example.com/pingback?a=1").turnstile(SITEKEY, PAGE) is None
    return "submitted"


calls = Calls("2captcha-python")
for name in public_methods(TwoCaptcha, NOT_SOLVING):
    calls.add(name, lambda name=name: solve(name))
for name in public_methods(AsyncTwoCaptcha, NOT_SOLVING):
    calls.add(f"async {name}", lambda name=name: solve_async(name))
calls.add("normal(base64)", lambda: answered(sync().normal(BASE64, numeric=1, caseSensitive=1)))
calls.add("normal(hintImg)", lambda: answered(sync().normal(PICTURE, hintImg=PICTURE, hintText="only the red ones")))
calls.add("rotate(one file)", lambda: answered(sync().rotate(PICTURE)))
calls.add("recaptcha(v3, enterprise)", lambda: answered(sync().recaptcha(SITEKEY, PAGE, "v3", 1, action="verify", score=0.3)))
calls.add("recaptcha(extendedResponse)", lambda: answered(sync(extendedResponse=True).recaptcha(SITEKEY, PAGE)))
calls.add("solve", lambda: answered(sync().solve(method="hcaptcha", sitekey=SITEKEY, url=PAGE)))
calls.add("send, get_result", lambda: two_steps(method="hcaptcha", sitekey=SITEKEY, url=PAGE)[2])
calls.add("turnstile(callback)", with_callback)
calls.add("report good", lambda: report(True))
calls.add("report bad", lambda: report(False))
calls.add("balance", balance)
calls.add("async send, wait_result, report, balance", account_async)
calls.add("get_result of an unknown task", lambda: refused("ERROR_WRONG_CAPTCHA_ID", lambda: sync().get_result("17")))
calls.add("report of an unknown task", lambda: refused("ERROR_WRONG_CAPTCHA_ID", lambda: sync().report("17", True)))
calls.finish()
