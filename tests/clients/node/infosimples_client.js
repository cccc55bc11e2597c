// @infosimples/node_two_captcha: text, the key after the picture; the only one that asks for statistics and load.
'use strict'

const fs = require('fs')
const os = require('os')
const path = require('path')
const Client = require('@infosimples/node_two_captcha')
const { add, run, solved, refused, covers, token, base64, page, sitekey } = require('./calls')

const one = new Client(token, { timeout: 60000, polling: 1000, throwErrors: true })
const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'sidekey-')), 'cap.png')
fs.writeFileSync(file, Buffer.from(base64, 'base64'))
process.on('exit', () => fs.rmSync(path.dirname(file), { recursive: true }))

const decoded = async (captcha) => solved((await captcha).id, (await captcha).text)

add('decode base64', () => decoded(one.decode({ base64 })))
add('decode buffer', () => decoded(one.decode({ buffer: Buffer.from(base64, 'base64') })))
add('decode path', () => decoded(one.decode({ path: file })))
add('decodeRecaptchaV2', () => decoded(one.decodeRecaptchaV2({ googlekey: sitekey, pageurl: page, invisible: true })))
add('decodeRecaptchaV3', () => decoded(one.decodeRecaptchaV3({ googlekey: sitekey, pageurl: page, action: 'verify' })))
add('decodeHCaptcha', () => decoded(one.decodeHCaptcha({ sitekey, pageurl: page })))
for (const bad of [true, false]) {
  add(`report bad=${bad}`, async () => {
    const { id } = await one.decodeHCaptcha({ sitekey, pageurl: page })
    if ((await one.report(id, bad)) !== true) throw new Error('not recorded')
    return refused('ERROR_DUPLICATE_REPORT', () => one.report(id, bad))
  })
}
add('balance', async () => {
  const balance = Number(await one.balance())
  if (!(balance > 10)) throw new Error(`not the sum of the keys: ${balance}`)
  return balance
})
add('captcha of an unknown task', () => refused("You've provided incorrect captcha ID", () => one.captcha('17')))
add('load', () => one.load())
// Statistics are one account's; there is no sum of them, so Sidekey refuses.
add('stats', () => refused('ERROR_EMPTY_ACTION', () => one.stats(new Date())))
covers(Client.prototype, ['balance', 'captcha', 'decode', 'decodeRecaptchaV2', 'decodeRecaptchaV3', 'decodeHCaptcha', 'load', 'report', 'stats'],
  ['constructor', '_loadCaptcha', '_request', '_sleep', '_throwError', '_upload', '_validateResponse'])
run('@infosimples/node_two_captcha')
