"""The CaptchaAI SDK, sync and async: JSON, GET for tokens, POST for pictures; asks threadsinfo before anything else."""

import asyncio
import inspect

from captchaai import AsyncCaptchaAI, CaptchaAI
from captchaai.core.registry import REGISTRY

from calls import PAGE, PNG, SITEKEY, TOKEN, URL, USER_AGENT, Calls, public_methods, refused, solved

PROXY = {"proxy": "user:secret@127.0.0.1:3128", "proxytype": "HTTP"}
# What a method requires is taken from here by name.
ARGUMENTS = {
    "image": PNG,
    "images": [PNG] * 9,
    "instructions": "traffic lights",
    "grid_size": "3x3",
    "sitekey": SITEKEY,
    "url": PAGE,
    "gt": "f1ab2cdefa3456789012345b6c78d90e",
    "challenge": "12345678abc90123d45678ef90123a456b",
    "captcha_id": "CROPPED_d3d4d56_73ca4008925b4f83a8bed59c2dd0df6d",
    "div_id": "lemin-cropped-captcha",
}
VARIANTS = {
    "recaptcha_v2": [{}, {"invisible": True}, {"enterprise": True, "action": "verify"}],
    "recaptcha_v3": [{"action": "verify", "min_score": 0.3}, {"action": "verify", "enterprise": True}],
    "turnstile": [{"cookies": "a=1; b=2", "user_agent": USER_AGENT}],
    "cloudflare_challenge": [PROXY],
    "captchafox": [PROXY],
    "normal": [{"numeric": 1, "min_len": 4, "lang": "en"}],
}
# The same by the wire's names, for `send`.
NATIVE = ARGUMENTS | {"googlekey": SITEKEY, "pageurl": PAGE, "action": "verify"}
NOT_SOLVING = {"threads_info", "send", "get_result"}


def sync():
    return CaptchaAI(TOKEN, base_url=URL)


def required(method):
    parameters = inspect.signature(method).parameters.values()
    return {p.name: ARGUMENTS[p.name] for p in parameters if p.default is p.empty and p.name != "self"}


def solve(name, variant):
    result = getattr(sync(), name)(**required(getattr(CaptchaAI, name)), **variant)
    return solved(result.task_id, result.solution)


def solve_async(name, variant):
    async def run():
        client = await AsyncCaptchaAI.create(TOKEN, base_url=URL)
        result = await getattr(client, name)(**required(getattr(AsyncCaptchaAI, name)), **variant)
        return solved(result.task_id, result.solution)

    return asyncio.run(run())


def two_steps(kind):
    client = CaptchaAI(TOKEN, base_url=URL, **(PROXY if REGISTRY[kind].requires_proxy else {}))
    task = client.send(kind, **{name: NATIVE[name] for name in REGISTRY[kind].required_params})
    return solved(task, client.get_result(kind, task).solution)


def threads(info):
    assert info["threads"] > 0 and info["working_threads"] >= 0, info
    return info


def threads_async():
    async def run():
        return threads(await (await AsyncCaptchaAI.create(TOKEN, base_url=URL)).threads_info())

    return asyncio.run(run())


def without_retries():
    """Asks threadsinfo before each submit."""
    result = CaptchaAI(TOKEN, base_url=URL, max_retries=0).normal(PNG)
    return solved(result.task_id, result.solution)


calls = Calls("captchaai")
for name in public_methods(CaptchaAI, NOT_SOLVING | {"close"}):
    for variant in VARIANTS.get(name, [{}]):
        calls.add(f"{name}({', '.join(variant)})", lambda name=name, variant=variant: solve(name, variant))
for name in public_methods(AsyncCaptchaAI, NOT_SOLVING | {"create", "aclose"}):
    for variant in VARIANTS.get(name, [{}]):
        calls.add(f"async {name}({', '.join(variant)})", lambda name=name, variant=variant: solve_async(name, variant))
for kind in REGISTRY:
    calls.add(f"send, get_result {kind}", lambda kind=kind: two_steps(kind))
calls.add("threads_info", lambda: threads(sync().threads_info()))
calls.add("async threads_info", threads_async)
calls.add("normal without retries", without_retries)
calls.add("get_result of an unknown task", lambda: refused("Task ID not found", lambda: sync().get_result("normal", "17")))
calls.finish()
