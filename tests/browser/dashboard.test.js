// The dashboard as an operator meets it: a real browser, a real Sidekey, and the sandbox for the vendor.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { PHONE, assertAccessible, assertClean, assertFits, launch, open } from "./browser.js";
import { account, start, until, value } from "./world.js";

const SHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
const TOKEN = "the-admin-token-of-the-browser-test";
const OF_ALICE = "0123456789abcdef0123456789alice0";
const OF_BOB = "0123456789abcdef0123456789abbob0";
const TENANTS = `
[[tenant]]
name = "alice"
token = "${OF_ALICE}"
daily_limit = 50
monthly_budget = 1.0
max_tasks = 20

[[tenant]]
name = "bob"
token = "${OF_BOB}"
project = "shop"
`;
const IN_TENANTS_MODE = '[clients]\nmode = "tenants"\n';
const GUARDED = { config: 'token_file = "admin-token"\n', files: { "admin-token": TOKEN } };

let browser;

before(async () => {
  browser = await launch();
  await mkdir(SHOTS, { recursive: true });
});
after(() => browser?.close());

// Each with a world of its own, which ends however the test ends.
function withWorld(name, setting, run) {
  test(name, { timeout: 60_000 }, async () => {
    const world = await start(setting);
    try {
      await run(world);
    } finally {
      await Promise.all(browser.contexts().map((context) => context.close()));
      await world.end();
    }
  });
}

// Of a key or a tenant, by its name.
function row(page, name) {
  return page.getByRole("row").filter({ has: page.getByRole("rowheader").getByText(name, { exact: true }) });
}

async function shows(locator, text) {
  let seen;
  const holds = async () => {
    seen = await locator.innerText().catch(() => "");
    return text instanceof RegExp ? text.test(seen) : seen.includes(text);
  };
  await until(`it shows ${text}`, holds).catch((error) => {
    throw new Error(`${error.message}; it shows: ${seen}`);
  });
}

function probes(world, name) {
  return world.sandbox("/sandbox/record?limit=1000").then(({ calls }) =>
    calls.filter((call) => call.account === name && call.action === "getbalance").length);
}

async function shot(page, name) {
  await page.screenshot({ path: `${SHOTS}${name}.png`, fullPage: true });
}

withWorld("it shows balances, states, slots, solves, pools and traffic of healthy keys",
  { accounts: [account(1, { threads: 10 }), account(2, { balance_micros: 1_234_560_000 })] }, async (world) => {
    await world.solve();
    const page = await open(browser, world);
    await shows(row(page, "account-1"), "healthy");
    await shows(row(page, "account-1"), "$10.00");
    await shows(row(page, "account-2"), "$1,234.56");
    const { keys } = await world.api("/api/keys");
    const solver = keys.find((key) => key.solves.done === 1);
    assert.equal(await row(page, solver.name).getByRole("cell").nth(3).innerText(), "1");
    const pool = page.getByRole("region", { name: "Pools" });
    await shows(pool, "2 of 2 keys usable");
    await shows(pool, "$1,244.5");
    const traffic = page.getByRole("region", { name: "Traffic" });
    await shows(traffic.getByRole("row", { name: "Submits" }), /Submits\s+\S+\s+1\s+0/);
    await shows(traffic, /[1-9]\d* by a call of their own/);
    await shows(page.getByRole("region", { name: "Latest calls" }), `submit relayed with ${solver.name}`);
    await shows(page.getByRole("region", { name: "Latest events" }), "start");
    await shows(page.getByRole("banner"), "live");
    await assertClean(page, world);
  });

withWorld("the course of a balance is a line, and the same in words",
  { accounts: [account(1)] }, async (world) => {
    const page = await open(browser, world);
    await shows(row(page, "account-1"), "$10.00");
    assert.equal(await row(page, "account-1").getByRole("img").count(), 0);
    await world.sandbox("/sandbox/accounts/account-1", { balance_micros: 4_000_000 });
    await page.getByRole("button", { name: "Probe account-1" }).click();
    await row(page, "account-1").getByRole("img", { name: /from \$10\.00 to \$4\.00, lowest \$4\.00, highest \$10\.00/ }).waitFor();
    await shows(row(page, "account-1"), "$4.00");
  });

withWorld("disable, enable and probe do what their buttons say",
  { accounts: [account(1), account(2)] }, async (world) => {
    const page = await open(browser, world);
    const key = row(page, "account-1");
    await shows(key, "healthy");

    await page.getByRole("button", { name: "Disable account-1" }).click();
    await page.getByRole("dialog", { name: "Disable account-1?" }).getByRole("button", { name: "Cancel" }).click();
    assert.equal(await world.keyState("account-1"), "healthy");

    await page.getByRole("button", { name: "Disable account-1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Disable" }).click();
    await until("it is disabled", async () => (await world.keyState("account-1")) === "disabled");
    await shows(key, "disabled");
    await shows(page.getByText(/^account-1: no new submits/), "enabled again");
    await shows(page.getByRole("region", { name: "Pools" }), "1 of 2 keys usable");
    for (let n = 0; n < 4; n += 1) await world.submit();
    const { accounts } = await world.sandbox("/sandbox/ledger");
    assert.equal(accounts["account-1"].made, 0);

    await page.getByRole("button", { name: "Enable account-1" }).click();
    await shows(key, "healthy");
    assert.equal(await world.keyState("account-1"), "healthy");

    await shows(page.getByRole("region", { name: "Latest events" }), "account-1 by-hand");

    const before = await probes(world, "account-2");
    await page.getByRole("button", { name: "Probe account-2" }).click();
    await shows(page.getByText(/^account-2: probe/), "passed");
    assert.equal(await probes(world, "account-2"), before + 1);
    await assertClean(page, world);
  });

withWorld("it is used with the keyboard alone, and what is drawn anew does not take the focus",
  { accounts: [account(1)] }, async (world) => {
    const page = await open(browser, world);
    const button = page.getByRole("button", { name: "Disable account-1" });
    await shows(row(page, "account-1"), "healthy");
    await until("the button is reached", async () => {
      await page.keyboard.press("Tab");
      return button.evaluate((node) => node === document.activeElement);
    });
    assert.notEqual(await button.evaluate((node) => getComputedStyle(node).outlineStyle), "none");
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog");
    assert.ok(await dialog.getByRole("button", { name: "Cancel" }).evaluate((node) => node === document.activeElement));
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await shows(row(page, "account-1"), "disabled");
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    await until("the button says the opposite", async () => (await focused()) === "Enable account-1");
    // Two rounds later.
    const first = page.requests.length;
    await until("it asked again", () => page.requests.slice(first).filter((url) => url.endsWith("/api/keys")).length >= 2);
    assert.equal(await focused(), "Enable account-1");
  });

withWorld("it shows a change of a key's state within seconds, and says it to a screen reader",
  { accounts: [account(1), account(2)] }, async (world) => {
    const page = await open(browser, world);
    await shows(row(page, "account-1"), "healthy");
    await world.sandbox("/sandbox/accounts/account-1", { balance_micros: 0 });
    await world.api("/api/keys/account-1/probe", { method: "POST" });
    await shows(row(page, "account-1"), "empty");
    await shows(page.locator("#changes"), "account-1 is now empty");
  });

withWorld("with an admin token it asks for it, refuses a wrong one, and forgets it when told",
  { accounts: [account(1)], ...GUARDED }, async (world) => {
    const page = await open(browser, world);
    const field = page.getByLabel("Token", { exact: true });
    await field.waitFor();
    assert.ok(!(await page.content()).includes("account-1"));

    await field.fill("a wrong one");
    await page.getByRole("button", { name: "Open" }).click();
    await shows(page.getByRole("alert"), "nobody has this token");
    assert.ok(!(await page.content()).includes("account-1"));
    assert.equal(await field.inputValue(), "");
    await assertAccessible(page);

    await field.fill(TOKEN);
    await field.press("Enter");
    await shows(row(page, "account-1"), "healthy");
    await page.reload();
    await shows(row(page, "account-1"), "healthy");
    await page.getByRole("button", { name: "Probe account-1" }).click();
    await shows(page.getByText(/^account-1: probe/), "passed");
    assert.ok(!page.requests.some((url) => url.includes(TOKEN)));

    await page.getByRole("button", { name: "Forget the token" }).click();
    await field.waitFor();
    assert.ok(!(await page.content()).includes("account-1"));
    await assertClean(page, world, /status of 401/);
  });

withWorld("a tenant sees its own usage and nothing else",
  { accounts: [account(1)], config: `${GUARDED.config}${IN_TENANTS_MODE}`, files: { ...GUARDED.files, "tenants.toml": TENANTS } }, async (world) => {
    for (let n = 0; n < 3; n += 1) await world.solve(OF_ALICE);
    const page = await open(browser, world);
    await page.getByLabel("Token", { exact: true }).fill(OF_ALICE);
    await page.getByRole("button", { name: "Open" }).click();
    await page.getByRole("heading", { name: "Your usage" }).waitFor();
    await shows(row(page, "alice"), "3 of 50 solves");
    await assertAccessible(page);
    const text = await page.content();
    for (const foreign of ["account-1", "bob"]) assert.ok(!text.includes(foreign), foreign);
    await assertClean(page, world, /status of 40[13]/);
  });

withWorld("an operator sees each tenant's usage against its limits",
  { accounts: [account(1)], config: IN_TENANTS_MODE, files: { "tenants.toml": TENANTS } }, async (world) => {
    for (let n = 0; n < 2; n += 1) await world.solve(OF_ALICE);
    await world.solve(OF_BOB);
    const page = await open(browser, world);
    await shows(row(page, "alice"), "2 of 50 solves");
    await shows(row(page, "alice"), /\$0\.\d+ of \$1\.00/);
    await shows(row(page, "alice"), "0 of 20");
    await shows(row(page, "bob"), /1 solves?/);
    await shows(row(page, "bob"), "shop");
    await assertClean(page, world);
  });

withWorld("it says since when it is not connected, piles up no requests, and goes on by itself",
  { accounts: [account(1)] }, async (world) => {
    const page = await open(browser, world);
    await shows(row(page, "account-1"), "healthy");
    const admin = new URL(world.admin).host;
    await world.sidekey.stop();
    const banner = page.getByRole("banner");
    await shows(banner, /not connected since \d\d:\d\d:\d\d/);
    const since = await banner.innerText();
    const first = page.requests.length;
    await until("it tried twice more", () => page.requests.length >= first + 2);
    assert.ok(page.requests.slice(first).every((url) => url.endsWith("/api/status")), "one question a round");
    assert.equal(await banner.innerText(), since);
    // What was seen last stays readable.
    await shows(row(page, "account-1"), "healthy");
    await world.run(admin);
    await shows(banner, "live");
    await assertClean(page, world, /ERR_/);
  });

withWorld("it does not ask while its tab is hidden",
  { accounts: [account(1)] }, async (world) => {
    const page = await open(browser, world);
    await shows(row(page, "account-1"), "healthy");
    const hide = (hidden) => page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await page.clock.install();
    await hide(true);
    await page.waitForLoadState("networkidle");
    const asked = page.requests.length;
    await page.clock.runFor(60_000);
    assert.equal(page.requests.length, asked);
    await hide(false);
    await until("it asks again at once", () => page.requests.length > asked);
  });

withWorld("markup in what the operator or the vendor wrote is text",
  { accounts: [account(1), account(2)] }, async (world) => {
    const attack = "<script>alert(1)</script><img src=x onerror=alert(2)>";
    const page = await open(browser, world);
    // What the program itself would not let through.
    await page.route("**/api/keys", async (route) => {
      const answer = await (await route.fetch()).json();
      Object.assign(answer.keys[0], { name: attack, why: attack, state: attack, pools: [attack], last_probe: { at: attack, outcome: attack } });
      await route.fulfill({ json: answer });
    });
    const event = { at: "2026-01-01T00:00:00Z", kind: attack, subject: attack, text: attack };
    await page.route("**/api/events?*", (route) => route.fulfill({ json: { events: [event] } }));
    await page.reload();
    await shows(page.getByRole("table", { name: "Keys" }), attack);
    await shows(page.getByRole("region", { name: "Latest events" }), attack);
    assert.equal(await page.locator("body script, body img").count(), 0);
    await page.getByRole("button", { name: /^Disable <script>/ }).click();
    await shows(page.getByRole("dialog"), attack);
    await assertClean(page, world);
  });

withWorld("files that cannot be used are a notice with the reason, until they are mended",
  { accounts: [account(1)] }, async (world) => {
    const page = await open(browser, world);
    const configuration = page.getByRole("region", { name: "Configuration" });
    await shows(configuration, "adopted");
    await world.write("keys.toml", "[[key]\n");
    await shows(page.getByRole("list", { name: "What needs attention" }), "The files cannot be used since");
    await shows(configuration, "keys.toml:1");
    await assertAccessible(page);
    await world.writeKeys([account(1)]);
    await shows(configuration, "adopted");
    assert.equal(await page.getByText("The files cannot be used").count(), 0);
  });

withWorld("ten thousand keys are drawn in part and can be searched",
  { accounts: [account(1)], keys: Array.from({ length: 10_000 }, (_, n) => ({ name: `account-${n + 1}`, key: value(n + 1) })) }, async (world) => {
    const page = await open(browser, world);
    await shows(page.locator("#keys-more"), "9,800 more keys");
    assert.equal(await page.locator("#keys tbody tr").count(), 200);
    await page.getByLabel("Name, pool or state").fill("account-9999");
    await shows(page.locator("#keys-more"), /^$/);
    assert.equal(await page.locator("#keys tbody tr").count(), 1);
  });

const STATES = {
  healthy: {
    accounts: [account(1, { threads: 10, solve_ms: 60_000 }), account(2, { balance_micros: 48_210_000, threads: 25, solve_ms: 60_000 }), account(3, { balance_micros: 7_450_000, threads: 10, solve_ms: 60_000 })],
    keys: [account(1, { more: "max_tasks = 10" }), account(2, { more: "max_tasks = 25" }), account(3, { more: "max_tasks = 10" })],
  },
  degraded: {
    accounts: [account(1, { threads: 10 }), account(2, { balance_micros: 420_000 }), account(3, { balance_micros: 1000 }), account(4)],
    keys: [account(1, { more: "max_tasks = 10" }), account(2), account(3), { name: "account-4", key: value(9) }],
  },
  empty: {
    accounts: [account(1, { balance_micros: 0 }), account(2, { balance_micros: 900 })],
    config: '[submit]\nwhen_empty = "park"\n',
  },
};

// A day cannot pass in a test, so the pictures have one that is made up: it ends at what the vendor said.
async function showDay(page, world) {
  const { keys } = await world.api("/api/keys");
  const hour = 3_600_000;
  // It falls, faster by day, and was refilled once.
  const points = (balance, nth) => Array.from({ length: 49 }, (_, n) => {
    const ago = (48 - n) / 2;
    const spent = balance * (0.03 * ago + 0.06 * Math.sin(ago / 3) * Math.min(1, ago / 6));
    const refill = ago > 8 + 5 * nth ? balance * 0.7 : 0;
    return { at: new Date(Date.now() - ago * hour).toISOString(), usd: balance + spent - refill };
  });
  const balances = keys.filter((key) => key.balance > 1).map((key, nth) => ({ account: key.name, points: points(key.balance, nth) }));
  await page.route("**/api/balances?*", (route) => route.fulfill({ json: { balances } }));
  await page.reload();
}

for (const [state, setting] of Object.entries(STATES)) {
  const clients = `${setting.config ?? ""}${IN_TENANTS_MODE}`;
  withWorld(`a pool that is ${state} is readable on a desk, on a phone and in the dark, for everybody`,
    { ...setting, config: clients, files: { "tenants.toml": TENANTS } }, async (world) => {
      await until("all keys are judged", async () => (await world.api("/api/keys")).keys.every((key) => key.state !== "unproven"));
      await prepare[state](world);
      for (const [look, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, phone: { viewport: PHONE, hasTouch: true, isMobile: true } })) {
        const page = await open(browser, world, options);
        await showDay(page, world);
        await shows(page.locator("#keys"), "account-1");
        await shows(page.locator("#tenants"), "alice");
        await assertAccessible(page);
        await assertFits(page);
        const [ground] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/));
        assert.equal(Number(ground) < 128, look === "dark");
        // The picture that stands for the others has rates, too.
        if (state === "healthy" && look === "light") {
          await world.solve(OF_ALICE);
          await shows(page.getByRole("row", { name: "Submits" }), /Submits\s+[1-9]/);
        }
        await shot(page, look === "light" ? state : `${state}-${look}`);
        await assertClean(page, world);
        await page.context().close();
      }
    });
}

const prepare = {
  async healthy(world) {
    const running = [];
    for (let n = 0; n < 9; n += 1) running.push(await world.submit(n % 3 ? OF_ALICE : OF_BOB));
    await world.sandbox("/sandbox/accounts/account-1", { solve_ms: 1 });
    await world.sandbox("/sandbox/accounts/account-2", { solve_ms: 1 });
    await world.sandbox("/sandbox/accounts/account-3", { solve_ms: 1 });
    for (let n = 0; n < 12; n += 1) await world.solve(n % 4 ? OF_ALICE : OF_BOB);
    // At the same time: by the calls of a few.
    await Promise.all([...running, ...running].map((id, n) => world.poll(id, n % 3 ? OF_ALICE : OF_BOB)));
  },
  async degraded(world) {
    for (let n = 0; n < 6; n += 1) await world.solve(OF_ALICE);
    await world.sandbox("/sandbox/faults", { endpoint: "in.php", times: 1, fault: { kind: "html" } });
    await world.submit(OF_BOB);
    await world.write("tenants.toml", "[[tenant]\n");
    await until("the files are refused", async () => (await world.api("/api/status")).reload.refused);
  },
  async empty(world) {
    for (let n = 0; n < 3; n += 1) await world.submit(OF_BOB);
    await until("they are parked", async () => (await world.api("/api/parked")).count === 3);
  },
};
