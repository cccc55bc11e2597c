// 2captcha (3.x): parameters in the query, pictures as JSON under text/plain beside it.
'use strict'

const { Solver } = require('2captcha')
const { add, run, solved, refused, covers, token, base64, page, sitekey } = require('./calls')

const solver = () => new Solver(token, 1000)
const kinds = {
  recaptcha: [sitekey, page, { action: 'verify', version: 'v3' }],
  hcaptcha: [sitekey, page],
  geetest: ['f1ab2cdefa3456789012345b6c78d90e', '12345678abc90123d45678ef90123a456b', page, { api_server: 'api.example.com' }],
  imageCaptcha: [base64, { numeric: 4 }],
  funCaptcha: ['12AB34CD-56F7-AB8C-9D01-2EF3456789A0', page, 'https://example.com/fc'],
  turnstile: [sitekey, page]
}

for (const [kind, args] of Object.entries(kinds)) {
  add(kind, async () => {
    const { id, data } = await solver()[kind](...args)
    return solved(id, data)
  })
}
add('balance', async () => {
  const balance = await solver().balance()
  if (!(balance > 10)) throw new Error(`not the sum of the keys: ${balance}`)
  return balance
})
for (const report of ['goodReport', 'report']) {
  add(report, async () => {
    const { id } = await solver().turnstile(...kinds.turnstile)
    await solver()[report](id)
    return refused('ERROR_DUPLICATE_REPORT', () => solver()[report](id))
  })
}
add('report of an unknown task', () => refused('ERROR_WRONG_CAPTCHA_ID', () => solver().report('17')))
covers(Solver.prototype, Object.keys(kinds), ['constructor', 'balance', 'goodReport', 'report', 'pollResponse'])
run('2captcha')
