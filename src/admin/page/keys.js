// The keys: how they are, and what a hand can do about them.

import { change } from "./ask.js";
import { bar, byId, element, refresh, show, sparkline, table, write } from "./draw.js";
import { count, counted, dollars, lasts, microDollars, moment, span } from "./units.js";

// A browser that draws more rows every two seconds has time for nothing else.
const MOST = 200;
const SEARCH_FROM = 12;
const MOST_SAID = 3;

const LEVELS = {
  healthy: "good", unproven: "info", cooling: "warn", suspect: "warn", empty: "bad", revoked: "bad", disabled: "off", draining: "off",
};

let courses = new Map();
let states = null;
let last = { keys: [] };
let done = () => {};

// `onChange` is called after each change by hand.
export function prepareKeys(onChange) {
  done = onChange;
  byId("search").addEventListener("input", () => drawKeys(last));
}

export function takeBalances(answer) {
  courses = new Map((answer?.balances ?? []).map(({ account, points }) => [account, points]));
}

export function drawKeys(answer) {
  last = answer;
  const { keys } = answer;
  sayChanges(keys);
  show(byId("keys-search"), keys.length > SEARCH_FROM);
  const wanted = byId("search").value.trim().toLowerCase();
  const fits = (key) => [key.name, key.state, ...key.pools].some((text) => text.toLowerCase().includes(wanted));
  const found = wanted === "" ? keys : keys.filter(fits);
  table(byId("keys"), COLUMNS, found.slice(0, MOST), (key) => `${key.name} ${key.fingerprint}`);
  const more = found.length - MOST;
  write(byId("keys-more"), more > 0 ? `${counted(more, "more key")}: search for a name` : found.length ? "" : wanted ? "No key fits." : "There is no key.");
}

// Only what one would want to be told: not each figure.
function sayChanges(keys) {
  const now = new Map(keys.map((key) => [key.name, key.state]));
  const changed = states ? keys.filter((key) => states.has(key.name) && states.get(key.name) !== key.state) : [];
  states = now;
  if (changed.length === 0) return;
  const said = changed.slice(0, MOST_SAID).map((key) => `${key.name} is now ${key.state}`);
  if (changed.length > MOST_SAID) said.push(`${counted(changed.length - MOST_SAID, "more key")} changed`);
  write(byId("changes"), said.join(", "));
}

const COLUMNS = [
  { label: "Key", draw: drawName },
  { label: "State", draw: drawState },
  { label: "Balance", kind: "wide", draw: drawBalance },
  { label: "Slots", draw: drawSlots },
  { label: "Solves", kind: "number", draw: drawSolves },
  { label: "Probe", draw: drawProbe },
  { label: "By hand", kind: "hand", draw: drawHand },
];

function quiet(text) {
  return element("span", { class: "quiet" }, text);
}

function drawName(cell, { name, fingerprint, pools }) {
  const where = pools.length ? pools.join(", ") : "no pool";
  refresh(cell, [name, fingerprint, where], () => [element("span", { class: "name" }, name), quiet(`${where} · ${fingerprint}`)]);
}

function drawState(cell, key) {
  const time = key.state === "cooling" && key.until_seconds !== null ? `for ${span(key.until_seconds)} more` : `for ${span(key.since_seconds)}`;
  refresh(cell, [key.state, time, key.why], () => [
    element("span", { class: `pill ${LEVELS[key.state] ?? "info"}` }, key.state),
    quiet(key.state === "healthy" || !key.why ? time : `${time}: ${key.why}`),
  ]);
}

function drawBalance(cell, key) {
  if (key.billing === "threads" || key.balance === null) {
    const text = key.billing === "threads" ? "thread plan" : "not known yet";
    refresh(cell, text, () => quiet(text));
    return;
  }
  const left = key.left_micro_usd < key.balance_micro_usd ? `about ${microDollars(key.left_micro_usd)} left` : "";
  const burn = key.burn_per_hour > 0 ? `${dollars(key.burn_per_hour)} an hour` : "";
  const time = key.hours_left === null ? "" : `lasts ${lasts(key.hours_left)}`;
  const facts = [left, burn, time].filter(Boolean).join(" · ");
  const course = courseOf(key);
  refresh(cell, [key.balance, facts, course], () => [
    element("span", { class: "figure" }, element("span", {}, dollars(key.balance)), course.length > 1 ? sparkline(course, courseText(course)) : null),
    facts ? quiet(facts) : null,
  ]);
}

// Up to what the vendor said last, which `/api/balances` may not have yet.
function courseOf(key) {
  const points = (courses.get(key.name) ?? []).map(({ at, usd }) => ({ at: Date.parse(at), value: usd }));
  const newest = points.at(-1);
  if (newest && newest.value !== key.balance) points.push({ at: Date.now() - (Date.now() % 60_000), value: key.balance });
  return points;
}

function courseText(points) {
  const values = points.map((point) => point.value);
  const hours = span((points.at(-1).at - points[0].at) / 1000);
  return `Balance over ${hours}: from ${dollars(values[0])} to ${dollars(values.at(-1))}, lowest ${dollars(Math.min(...values))}, highest ${dollars(Math.max(...values))}`;
}

function drawSlots(cell, { slots }) {
  const text = slots.max === null ? `${count(slots.used)} used` : `${count(slots.used)} of ${count(slots.max)}`;
  refresh(cell, slots, () => [element("span", {}, text), slots.max ? bar(slots.used, slots.max) : null]);
}

function drawSolves(cell, { solves }) {
  const failed = solves.failed ? `${count(solves.failed)} failed` : "";
  refresh(cell, solves, () => [element("span", {}, count(solves.done)), failed ? quiet(failed) : null]);
}

function drawProbe(cell, key) {
  const next = key.next_probe_seconds === null ? "none due" : key.next_probe_seconds > 0 ? `in ${span(key.next_probe_seconds)}` : "due now";
  const before = key.last_probe ? `${key.last_probe.outcome}, ${moment(key.last_probe.at)}` : "";
  refresh(cell, [next, before], () => [element("span", {}, next), before ? quiet(before) : null]);
}

// The buttons stay the same nodes, so that whoever is on one stays there.
function drawHand(cell, key) {
  if (!cell.firstChild) {
    const hand = element("button", { type: "button" });
    const probe = element("button", { type: "button", "aria-label": `Probe ${key.name}` }, "Probe");
    hand.addEventListener("click", () => (hand.dataset.does === "enable" ? enable(hand, key.name) : disable(hand, key.name)));
    probe.addEventListener("click", () => act(probe, key.name, "probe"));
    cell.append(hand, probe);
  }
  const [hand, probe] = cell.children;
  const isListed = key.standing !== "draining";
  const does = key.state === "disabled" ? "enable" : "disable";
  const label = does === "enable" ? "Enable" : "Disable";
  if (hand.dataset.does !== does) {
    hand.dataset.does = does;
    hand.setAttribute("aria-label", `${label} ${key.name}`);
    write(hand, label);
  }
  // What the file disables is enabled there.
  show(hand, isListed && key.standing === "active");
  show(probe, isListed);
}

async function disable(button, name) {
  const text = "It gets no new submits until it is enabled again or the program ends. Its running tasks are polled to their end.";
  if (await confirmed(`Disable ${name}?`, text, "Disable")) await act(button, name, "disable");
}

function enable(button, name) {
  return act(button, name, "enable");
}

async function act(button, name, what) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  try {
    say(`${name}: ${outcome(what, await change(`/api/keys/${encodeURIComponent(name)}/${what}`))}`);
  } catch (error) {
    say(`${name}: ${error.message}`, true);
  }
  button.ariaBusy = "false";
  done();
}

function outcome(what, answer) {
  if (what !== "probe") return answer.note;
  return answer.probe === "waits" ? `the probe waits: ${answer.note}` : `probe ${answer.probe}`;
}

function say(text, isError = false) {
  const said = byId("said");
  said.classList.toggle("error", isError);
  write(said, text);
}

// Resolves when the dialog is closed, however that happens.
function confirmed(title, text, yes) {
  const dialog = byId("confirm");
  write(byId("confirm-title"), title);
  write(byId("confirm-text"), text);
  write(byId("confirm-yes"), yes);
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    byId("confirm-yes").onclick = () => dialog.close("yes");
    byId("confirm-no").onclick = () => dialog.close("");
    dialog.showModal();
  });
}
