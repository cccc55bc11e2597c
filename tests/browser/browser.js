// The system's Chromium, and a page that notes whatever a page of ours must never do.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core"), "utf8");

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 360, height: 740 };

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // As root, which a container's user often is, Chromium has no sandbox of its own.
    chromiumSandbox: process.getuid() !== 0,
  });
}

// `options` are those of a browser context, such as viewport and colorScheme.
export async function open(browser, world, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, reducedMotion: "reduce", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  page.faults = [];
  page.requests = [];
  page.on("pageerror", (error) => page.faults.push(`error: ${error}`));
  page.on("console", (message) => message.type() === "error" && page.faults.push(`console: ${message.text()}`));
  page.on("dialog", (dialog) => {
    page.faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => page.requests.push(request.url()));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });
  await page.goto(world.admin);
  return page;
}

// Nothing went wrong in it, and nothing left for another host. What a test provokes, such as a 401, it names as `expected`.
export async function assertClean(page, world, expected = /^$/) {
  assert.deepEqual(page.faults.filter((fault) => !expected.test(fault)), []);
  assert.deepEqual(await page.evaluate(() => window.violations), []);
  const foreign = page.requests.filter((url) => !url.startsWith(`${world.admin}/`) && !url.startsWith("data:"));
  assert.deepEqual(foreign, []);
}

export async function assertAccessible(page) {
  await page.evaluate(`(() => { const module = undefined, define = undefined; ${axe} })()`);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map((node) => `${node.html}\n    ${node.failureSummary}`).join("\n  ")}`);
  assert.deepEqual(told, []);
}

export async function assertFits(page) {
  const [needed, there] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(needed <= there, `the page is ${needed} wide on a screen of ${there}`);
}
