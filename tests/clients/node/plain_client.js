// 2captcha-node: plain http, a multipart content type without boundary around JSON text, a poll each second.
'use strict'

const client = require('2captcha-node').default
const { add, run, solved, covers, token, base64 } = require('./calls')

const one = client(token)

add('solve', async () => {
  const { id, text } = await one.solve({ image: base64 })
  return solved(id, text)
})
for (const good of [true, false]) {
  add(`report ${good}`, async () => {
    const { id } = await one.solve({ image: base64 })
    if ((await one.report(id, good)) !== true) throw new Error('not recorded')
    return 'recorded'
  })
}
add('balance', async () => {
  const balance = await one.balance()
  if (!(balance > 10)) throw new Error(`not the sum of the keys: ${balance}`)
  return balance
})
covers(one, ['solve', 'report', 'balance'], [])
run('2captcha-node')
