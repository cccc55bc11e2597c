// What the drivers share: run a client's calls side by side and print one JSON line for each.
'use strict'

const assert = require('assert')

// Enough to overlap, few enough that submits spread over the edits of the key file.
const AT_ONCE = 12

const calls = []

// `act` returns what is worth reading in the line, or throws.
function add(call, act) {
  calls.push({ call, act })
}

async function run(client) {
  let failed = false
  async function worker() {
    for (let next = calls.shift(); next; next = calls.shift()) {
      const line = { client, call: next.call, ok: true }
      try {
        line.detail = String(await next.act())
      } catch (error) {
        line.ok = false
        line.detail = String(error)
        failed = true
      }
      console.log(JSON.stringify(line))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  // Not by itself: puppeteer-extra never reads the answer to a report, which holds the connection and the process.
  process.exit(failed ? 1 : 0)
}

// The sandbox's answer names its task, in every shape of answer.
function solved(task, answer) {
  const text = typeof answer === 'string' ? answer : JSON.stringify(answer)
  assert(text && text.includes(`solved-${task}`), `task ${task} was answered ${text}`)
  return text
}

// The call must fail, and the client must be able to read why.
async function refused(code, act) {
  let answer
  try {
    answer = await act()
  } catch (error) {
    const text = `${error.name} ${error.message} ${error.err ?? ''}`
    assert(text.includes(code), `expected ${code}, got ${text}`)
    return code
  }
  assert.fail(`expected ${code}, got the answer ${JSON.stringify(answer)}`)
}

// Fails when a new version of the client offers a method that is not called here.
function covers(of, called, besides) {
  const offered = Object.keys(Object.getOwnPropertyDescriptors(of)).filter((name) => typeof Object.getOwnPropertyDescriptor(of, name).value === 'function')
  const missed = offered.filter((name) => !called.includes(name) && !besides.includes(name))
  assert.deepStrictEqual(missed, [], 'methods that are not called')
}

const base64 = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), Buffer.alloc(900, '\r\n--\r\n\x00&key=+%=', 'latin1')]).toString('base64')

module.exports = {
  add,
  run,
  solved,
  refused,
  covers,
  token: process.env.SIDEKEY_TOKEN,
  base64,
  page: 'https://example.com/page?a=1&b=%20',
  sitekey: '6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64)'
}
