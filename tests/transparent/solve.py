"""2captcha-python as it is documented: it has a token in the place of its key, and nothing else of ours."""

import asyncio
import os

from twocaptcha import AsyncTwoCaptcha, TwoCaptcha

TOKEN = os.environ["TOKEN"]
TASK = {"sitekey": "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-", "url": "https://example.com/page"}

print("sync", TwoCaptcha(TOKEN, pollingInterval=1).turnstile(**TASK)["code"])
print("async", asyncio.run(AsyncTwoCaptcha(TOKEN, pollingInterval=1).turnstile(**TASK))["code"])
