// Two Node clients as they are documented: they have a token in the place of their key, and nothing else of ours.
'use strict'

const { Solver } = require('@2captcha/captcha-solver')
const client = require('rucaptcha-2captcha')

const { TOKEN } = process.env

async function main () {
  const task = { sitekey: '6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-', pageurl: 'https://example.com/page' }
  console.log('@2captcha/captcha-solver', (await new Solver(TOKEN, 1000).cloudflareTurnstile(task)).data)
  console.log('rucaptcha-2captcha', (await client(TOKEN, 2).solve({ textcaptcha: 'two and three?' })).token)
}

main().catch((error) => {
  console.log(error)
  process.exit(1)
})
