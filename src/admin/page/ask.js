// What is asked of the API, and with whose token.

const PLACE = "sidekey-token";
// Longer than a probe may take, after which nobody waits for an answer any more.
const PATIENCE_MS = 15_000;

let token = sessionStorage.getItem(PLACE) ?? "";

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export class Unreachable extends Error {}

export function hasToken() {
  return token !== "";
}

// Kept for this tab alone, so that a page that is loaded again need not ask.
export function takeToken(text) {
  token = text.trim();
  sessionStorage.setItem(PLACE, token);
}

export function forgetToken() {
  token = "";
  sessionStorage.removeItem(PLACE);
}

// What an older program does not know is null.
export async function ask(path) {
  const answer = await send(path, "GET");
  return answer.status === 404 ? null : read(answer);
}

export async function askText(path) {
  const answer = await send(path, "GET");
  return text(answer);
}

// No form can send the header, and the script of a foreign page may not.
export async function change(path) {
  return read(await send(path, "POST", { "X-Sidekey": "1" }));
}

function send(path, method, headers = {}) {
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return reached(fetch(path, { method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error" }));
}

function text(answer) {
  return reached(answer.text());
}

async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    throw new Unreachable(error.message);
  }
}

async function read(answer) {
  const said = await text(answer);
  const value = parsed(said);
  if (answer.ok && value !== null) return value;
  throw new Refused(answer.status, value?.error ?? said.trim());
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
