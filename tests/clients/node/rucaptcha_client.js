// rucaptcha-2captcha: submits as JSON, several tasks in one poll (ids=), the price with the answer (get2).
'use strict'

const client = require('rucaptcha-2captcha')
const { add, run, solved, refused, covers, token, base64, page, sitekey } = require('./calls')

const text = { textcaptcha: 'two and three?' }
const one = client(token, 2)

add('solve a picture', async () => (await one.solve({ method: 'base64', body: base64 })).token)
add('solve a text', async () => (await one.solve(text)).token)
add('solve recaptcha, at rucaptcha.com', async () => (await client(token).solve({ method: 'userrecaptcha', googlekey: sitekey, pageurl: page })).token)
add('send, get', async () => {
  const id = await one.send(text)
  return solved(id, await one.get(id))
})
// The tasks lie on several keys; the answers come back in the order of the question.
add('get of five tasks at once', async () => {
  const ids = await Promise.all(Array.from({ length: 5 }, () => one.send(text)))
  const answers = await one.get(ids)
  return ids.map((id, at) => solved(id, answers[at]))
})
add('getWithPrice', async () => {
  const id = await one.send(text)
  return solved(id, await one.getWithPrice(id))
})
for (const report of ['reportGood', 'reportBad']) {
  add(report, async () => {
    const id = await one.send(text)
    await one.get(id)
    const { request } = await one[report](id)
    if (request !== 'OK_REPORT_RECORDED') throw new Error(request)
    return request
  })
}
add('getBalance', async () => {
  const balance = await one.getBalance()
  if (!(balance > 10)) throw new Error(`not the sum of the keys: ${balance}`)
  return balance
})
add('get of an unknown task', () => refused('ERROR_WRONG_CAPTCHA_ID', () => one.get('17')))
// getPrices reads web pages of the vendor, which are no part of this wire format.
covers(one, ['solve', 'send', 'get', 'getWithPrice', 'reportGood', 'reportBad', 'getBalance'], ['getPrices'])
run('rucaptcha-2captcha')
