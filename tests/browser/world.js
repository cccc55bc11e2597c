// A sandbox and a real Sidekey in front of it, each on a free port, with files in a folder of their own.

import { spawn } from "node:child_process";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.SIDEKEY_BINARY;
const PATIENCE_MS = 20_000;

export function value(number) {
  return `sandboxkey${String(number).padStart(22, "0")}`;
}

// What differs from a prepaid account with ten dollars is named in `account`.
export function account(number, changes = {}) {
  return { name: `account-${number}`, key: value(number), balance_micros: 10_000_000, price_micros: 2000, solve_ms: 1, ...changes };
}

export async function start({ accounts, keys = accounts, config = "", files = {} }) {
  const world = new World(await mkdtemp(join(tmpdir(), "sidekey-browser-")));
  try {
    await world.start(accounts, keys, config, files);
    return world;
  } catch (error) {
    await world.end();
    throw error;
  }
}

class World {
  #folder;
  #config;
  #programs = [];

  constructor(folder) {
    this.#folder = folder;
  }

  async start(accounts, keys, config, files) {
    await this.write("sandbox.toml", `dialect = "2captcha"\n${accounts.map(accountToml).join("")}`);
    const sandbox = this.#run("sandbox", "--config", "sandbox.toml", "--listen", "127.0.0.1:0");
    this.vendor = `http://${await sandbox.says(/listening on (127\.0\.0\.1:\d+)/)}`;
    this.#config = (admin) => `${"tenants.toml" in files ? 'tenants_file = "tenants.toml"' : ""}
[listen]
http = ["127.0.0.1:0"]
[admin]
listen = ["${admin}"]
${config}
[vendor]
profile = "2captcha"
url = "${this.vendor}"
allow_plaintext = true
`;
    await this.writeKeys(keys);
    for (const [name, text] of Object.entries(files)) await this.write(name, text);
    await this.run();
  }

  async run(admin = "127.0.0.1:0") {
    await this.write("sidekey.toml", this.#config(admin));
    this.sidekey = this.#run("run", "--config", "sidekey.toml");
    const said = await this.sidekey.says(/http="?(127\.0\.0\.1:\d+).*admin="?(127\.0\.0\.1:\d+)/);
    this.client = `http://${said[0]}`;
    this.admin = `http://${said[1]}`;
  }

  writeKeys(keys) {
    const toml = ({ name, key, more = "" }) => `[[key]]\nname = "${name}"\nvalue = "${key}"\n${more}\n`;
    return this.write("keys.toml", keys.map(toml).join("") || "key = []\n");
  }

  // In one step, as an editor does it.
  async write(name, text) {
    const path = join(this.#folder, name);
    await writeFile(`${path}.new`, text, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  async api(path, { token, ...options } = {}) {
    const headers = { "X-Sidekey": "1", ...(token && { Authorization: `Bearer ${token}` }) };
    const answer = await fetch(this.admin + path, { headers, ...options });
    return answer.json();
  }

  async sandbox(path, body) {
    const answer = await fetch(this.vendor + path, body && { method: "POST", body: JSON.stringify(body) });
    return answer.json();
  }

  // The answer in text: an id, or a code.
  async submit(token = "placeholder") {
    const form = new URLSearchParams({ key: token, method: "userrecaptcha", googlekey: "x", pageurl: "http://example.com" });
    const answer = await fetch(`${this.client}/in.php`, { method: "POST", body: form });
    return (await answer.text()).replace("OK|", "");
  }

  async poll(id, token = "placeholder") {
    const answer = await fetch(`${this.client}/res.php?${new URLSearchParams({ key: token, action: "get", id })}`);
    return answer.text();
  }

  async solve(token) {
    const id = await this.submit(token);
    await until(`task ${id} is solved`, async () => (await this.poll(id, token)).startsWith("OK|"));
  }

  keyState(name) {
    return this.api("/api/keys").then(({ keys }) => keys.find((key) => key.name === name)?.state);
  }

  async end() {
    await Promise.all(this.#programs.map((program) => program.stop()));
    await rm(this.#folder, { recursive: true, force: true });
  }

  #run(...command) {
    const program = new Program(command, this.#folder);
    this.#programs.push(program);
    return program;
  }
}

function accountToml(account) {
  const lines = Object.entries(account).map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`);
  return `[[accounts]]\n${lines.join("")}`;
}

class Program {
  #process;
  #said = "";

  constructor(command, folder) {
    this.#process = spawn(BINARY, command, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env.PATH } });
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on("data", (data) => (this.#said += data));
    this.ended = new Promise((resolve) => this.#process.on("close", resolve));
  }

  async says(pattern) {
    let found;
    await until(`${pattern} is printed`, () => {
      if (this.#process.exitCode !== null) throw new Error(`it ended:\n${this.#said}`);
      found = pattern.exec(this.#said);
      return found;
    });
    return found.length > 2 ? found.slice(1) : found[1];
  }

  stop() {
    this.#process.kill("SIGKILL");
    return this.ended;
  }
}

export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`never came true: ${what}`);
}
