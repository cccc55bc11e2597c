// What clients ask, and where their polls were answered from: read off /metrics, and compared with what it said before.

import { byId, element, refresh, table } from "./draw.js";
import { count } from "./units.js";

const WINDOW_MS = 60_000;
const GOOD = ["relayed", "not_ready", "answered"];
const GOOD_ANSWERS = ["accepted", "final", "not_ready", "said", "task"];
const CALLS = { submit: "Submits", solve: "Solves that block", poll: "Polls", report: "Reports", account: "Account calls" };
const SOURCES = {
  vendor: "by a call of their own",
  batch: "by one call for several tasks",
  pace: "by the call of another poll",
  kept: "from a kept answer",
};

let samples = [];

export function drawTraffic(text, now = Date.now()) {
  const series = parse(text);
  const sample = { at: now, totals: totals(series) };
  // A program that was started again counts from 0.
  const before = samples.at(-1)?.totals;
  if (before && [...before].some(([name, { all }]) => (sample.totals.get(name)?.all ?? 0) < all)) samples = [];
  samples = [...samples.filter((old) => now - old.at <= WINDOW_MS), sample];
  const items = [...sample.totals].map(([name, total]) => ({ name, ...total, perMinute: perMinute(name) }));
  table(byId("traffic"), COLUMNS, items, (item) => item.name);
  drawPolls(series);
}

const COLUMNS = [
  { label: "What", draw: (cell, { name }) => refresh(cell, name, () => name) },
  { label: "A minute", kind: "number", draw: (cell, { perMinute }) => refresh(cell, perMinute, () => (perMinute === null ? "…" : count(perMinute))) },
  { label: "Since the start", kind: "number", draw: (cell, { all }) => refresh(cell, all, () => count(all)) },
  { label: "Refused or failed", kind: "number", draw: (cell, { bad }) => refresh(cell, bad, () => count(bad)) },
];

// In the order of CALLS; other calls after them, and those to the vendor last.
function totals(series) {
  const found = new Map(["Submits", "Polls"].map((name) => [name, { all: 0, bad: 0 }]));
  const add = (name, value, isBad) => {
    const total = found.get(name) ?? { all: 0, bad: 0 };
    found.set(name, { all: total.all + value, bad: total.bad + (isBad ? value : 0) });
  };
  for (const { name, labels, value } of series) {
    if (name === "sidekey_requests_total") add(CALLS[labels.action] ?? "Other calls", value, !GOOD.includes(labels.outcome));
  }
  for (const { name, labels, value } of series) {
    if (name === "sidekey_vendor_requests_total") add("Calls to the vendor", value, !GOOD_ANSWERS.includes(labels.class));
  }
  return found;
}

function perMinute(name) {
  const [first, last] = [samples[0], samples.at(-1)];
  if (last.at - first.at < 1000) return null;
  const more = (last.totals.get(name)?.all ?? 0) - (first.totals.get(name)?.all ?? 0);
  return (more * 60_000) / (last.at - first.at);
}

function drawPolls(series) {
  const answered = Object.keys(SOURCES).map((from) => ({ from, polls: 0 }));
  for (const { name, labels, value } of series) {
    const one = name === "sidekey_polls_answered_total" && answered.find(({ from }) => from === labels.from);
    if (one) one.polls += value;
  }
  const all = answered.reduce((sum, { polls }) => sum + polls, 0);
  refresh(byId("polls-bar"), answered, () => answered.map(({ from, polls }) => part(from, all ? polls / all : 0)));
  refresh(byId("polls"), answered, () => answered.map(({ from, polls }) => {
    const share = all ? ` (${Math.round((polls / all) * 100)}%)` : "";
    return element("li", { class: from }, element("b", {}, count(polls)), ` ${SOURCES[from]}${share}`);
  }));
}

function part(from, share) {
  const fill = element("span", { class: from });
  fill.style.width = `${share * 100}%`;
  return fill;
}

// Lines of OpenMetrics: name{label="value",…} value
export function parse(text) {
  return text.split("\n").flatMap((line) => {
    const found = /^([a-z0-9_]+)(?:\{(.*)\})? ([^ ]+)/.exec(line);
    if (!found) return [];
    const pairs = [...(found[2] ?? "").matchAll(/([a-z0-9_]+)="((?:[^"\\]|\\.)*)"/g)];
    const labels = Object.fromEntries(pairs.map(([, name, value]) => [name, value]));
    return [{ name: found[1], labels, value: Number(found[3]) }];
  });
}
