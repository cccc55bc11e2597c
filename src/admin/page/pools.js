// The pools at a glance, and what needs attention.

import { bar, byId, element, list } from "./draw.js";
import { count, counted, dollars, lasts, microDollars, moment, span } from "./units.js";

const MOST = 24;

export function drawPools({ pools }) {
  // Those of tenants' own keys come after those that are shared.
  const own = (pool) => pool.name.startsWith("tenant:");
  const sorted = [...pools.filter((pool) => !own(pool)), ...pools.filter(own)];
  const more = sorted.length - MOST;
  list(byId("pools"), sorted.slice(0, MOST), card, "There is no pool.");
  if (more > 0) byId("pools").append(element("li", { class: "quiet" }, `${counted(more, "more pool")}: see /api/pools`));
}

function card(pool) {
  const [level, headline] = judged(pool);
  const { used, max } = pool.slots;
  const facts = [
    ["Slots", max === null ? `${count(used)} used` : `${count(used)} of ${count(max)}`, max ? bar(used, max) : null],
    ["Money left", pool.left_micro_usd === null ? "—" : microDollars(pool.left_micro_usd)],
    ["Burn", pool.burn_per_hour > 0 ? `${dollars(pool.burn_per_hour)} an hour` : "—"],
    ["Lasts", pool.hours_left === null ? "—" : lasts(pool.hours_left)],
  ];
  const fact = ([name, value, drawing = null]) => element("div", {}, element("dt", {}, name), element("dd", {}, value, drawing));
  return element("li", { class: `card ${level}` },
    element("h3", {}, pool.name),
    element("p", { class: "headline" }, headline, element("span", { class: "quiet" }, others(pool.states))),
    element("dl", {}, ...facts.map(fact)));
}

function judged({ keys, usable }) {
  if (keys === 0) return ["bad", "no key"];
  if (usable === 0) return ["bad", keys === 1 ? "the key is not usable" : `none of ${count(keys)} keys usable`];
  return [usable < keys ? "warn" : "good", `${count(usable)} of ${counted(keys, "key")} usable`];
}

function others(states) {
  const found = Object.entries(states).filter(([state]) => state !== "healthy");
  return found.map(([state, number]) => ` · ${count(number)} ${state}`).join("");
}

export function drawNotices(status, troubles) {
  const found = [...noticesOf(status), ...troubles];
  list(byId("notices"), found, (text) => element("li", {}, text), "");
}

function noticesOf(status) {
  if (!status) return [];
  const since = status.vendor_unreachable_since;
  return [
    !status.ready && "It is about to end: running work is finished, no new submits are taken.",
    status.keys === 0 && "There is no key yet. Put one into the keys file, which is read again by itself, or into CAPTCHAAI_KEYS before the start.",
    since && `The vendor cannot be reached since ${moment(since)}. See whether it is down, or the network.`,
    status.banned_until && `The vendor bans this address until ${moment(status.banned_until)}, mostly after calls with bad keys: take those out of the keys file.`,
    status.reload?.refused && `The files cannot be used since ${moment(status.reload.refused.at)}: what was read before goes on serving. The reason is below, under Configuration.`,
  ].filter(Boolean);
}

export function drawAbout(status) {
  const up = (Date.now() - new Date(status.started)) / 1000;
  const about = byId("about");
  about.textContent = `${status.version} · ${status.profile} · up ${span(up)}`;
  about.title = status.vendor;
}
