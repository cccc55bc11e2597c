// The page asks, draws and waits, in this order, so that requests never pile up.

import { Refused, Unreachable, ask, askText, forgetToken, hasToken, takeToken } from "./ask.js";
import { byId, show, write } from "./draw.js";
import { drawKeys, prepareKeys, takeBalances } from "./keys.js";
import { drawCalls, drawEvents, drawParked, drawReload, drawUncertain } from "./lists.js";
import { drawAbout, drawNotices, drawPools } from "./pools.js";
import { drawTenants } from "./tenants.js";
import { drawTraffic } from "./traffic.js";
import { moment } from "./units.js";

const PAUSE_MS = 2000;
// A pool whose answers take long is asked less often: a tenth of its time at most.
const PAUSE_FACTOR = 9;
const LONGEST_PAUSE_MS = 30_000;

// In seconds; what changes slowly, or is read from the store, is asked for less often. Balances come before the keys that
// show them.
const SOURCES = [
  { path: "/api/balances?hours=24", every: 60, draw: takeBalances },
  { path: "/api/pools", every: 2, draw: drawPools },
  { path: "/api/keys", every: 2, draw: drawKeys },
  { path: "/api/tenants", every: 4, draw: (answer) => drawTenants(answer, false) },
  { path: "/metrics", every: 4, draw: drawTraffic, ask: askText },
  { path: "/api/events?limit=12", every: 2, draw: drawEvents },
  { path: "/api/calls?limit=12", every: 2, draw: drawCalls },
  { path: "/api/parked", every: 4, draw: drawParked },
  { path: "/api/uncertain", every: 10, draw: drawUncertain },
];

const asked = new Map();
let timer = 0;
let isAsking = false;
let isWantedAgain = false;
let heard = null;

async function round() {
  clearTimeout(timer);
  if (document.hidden) return;
  // Whoever wants news now gets it after what is on its way.
  if (isAsking) {
    isWantedAgain = true;
    return;
  }
  isAsking = true;
  const began = Date.now();
  const goesOn = await look();
  isAsking = false;
  if (isWantedAgain) {
    isWantedAgain = false;
    return round();
  }
  const pause = Math.min(LONGEST_PAUSE_MS, Math.max(PAUSE_MS, PAUSE_FACTOR * (Date.now() - began)));
  if (goesOn) timer = setTimeout(round, pause);
}

// False where a token is needed first.
async function look() {
  try {
    const status = await allowed();
    if (status) await lookAtAll(status);
    heard = new Date();
    connected();
    return true;
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) {
      askForToken(error);
      return false;
    }
    if (!(error instanceof Unreachable)) console.error(error);
    notConnected();
    return true;
  }
}

// The status; null for a tenant, who has been shown what is its own.
async function allowed() {
  try {
    return await ask("/api/status");
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 403 || !hasToken()) throw error;
  }
  const own = await ask("/api/tenants");
  only(["tenants-part"]);
  drawTenants(own, true);
  return null;
}

async function lookAtAll(status) {
  const now = Date.now();
  const due = SOURCES.filter(({ path, every }) => now - (asked.get(path) ?? 0) >= every * 1000 - PAUSE_MS / 2);
  const answers = await Promise.allSettled(due.map(({ path, ask: how = ask }) => how(path)));
  const troubles = [];
  due.forEach(({ path, draw }, nth) => {
    const { value, reason } = answers[nth];
    if (reason instanceof Refused && reason.status >= 500) troubles.push(reason.message);
    else if (reason) throw reason;
    else {
      asked.set(path, now);
      draw(value);
    }
  });
  drawAbout(status);
  drawReload(status);
  drawNotices(status, troubles);
  only(["everything", "more"], ["tenants-part"]);
}

function connected() {
  sayConnection("live", "good");
  show(byId("forget"), hasToken());
}

function notConnected() {
  sayConnection(heard ? `not connected since ${moment(heard)}` : "not connected", "bad");
}

function sayConnection(text, level) {
  const connection = byId("connection");
  connection.className = `pill ${level}`;
  write(connection, text);
  document.body.classList.toggle("stale", level === "bad");
}

function askForToken(refused) {
  const wasWrong = hasToken();
  forgetToken();
  only(["sign-in"]);
  write(byId("about"), "");
  sayConnection("a token is needed", "info");
  show(byId("forget"), false);
  write(byId("sign-in-error"), wasWrong || refused.status === 403 ? refused.message : "");
  byId("token").focus();
}

// Shows these parts, leaves `others` to whoever draws them, and hides the rest.
function only(parts, others = []) {
  for (const part of ["sign-in", "everything", "tenants-part", "more"]) {
    if (!others.includes(part)) show(byId(part), parts.includes(part));
  }
}

function startAnew() {
  asked.clear();
  round();
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  takeToken(byId("token").value);
  byId("token").value = "";
  startAnew();
});

byId("forget").addEventListener("click", () => {
  forgetToken();
  // What was shown must not stay in the page.
  location.reload();
});

document.addEventListener("visibilitychange", round);
prepareKeys(startAnew);
round();
