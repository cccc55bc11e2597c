// puppeteer-extra-plugin-recaptcha: a chunked form without a content type, overlapping polls, reports by itself.
'use strict'

const api = require('puppeteer-extra-plugin-recaptcha/dist/provider/2captcha-api')
const { getSolutions } = require('puppeteer-extra-plugin-recaptcha/dist/provider/2captcha')
const { add, run, solved, covers, token, base64, page, sitekey } = require('./calls')

api.setApiKey(token)

// The client calls back with an error, or with a result and a function that reports it as bad and solves anew.
function decode(start, { again = false } = {}) {
  return new Promise((resolve, reject) => {
    start({ pollingInterval: 1000, retries: 3 }, (error, result, invalid) => {
      if (error) return reject(new Error(error))
      if (!again) return resolve(solved(result.id, result.text))
      again = false
      invalid()
    })
  })
}

for (const captcha of [
  { _vendor: 'recaptcha', id: 'a', sitekey, url: page, s: 'data+s/=', action: 'verify', isEnterprise: true },
  { _vendor: 'hcaptcha', id: 'b', sitekey, url: page }
]) {
  add(`getSolutions ${captcha._vendor}`, async () => {
    const { solutions, error } = await getSolutions([captcha], token, { useEnterpriseFlag: true })
    if (error) throw new Error(error.error)
    return solved(solutions[0].providerCaptchaId, solutions[0].text)
  })
}
add('decode', () => decode((options, done) => api.decode(base64, options, done)))
add('decodeReCaptcha', () => decode((options, done) => api.decodeReCaptcha('userrecaptcha', sitekey, page, {}, options, done)))
add('decode, reported as bad, again', () => decode((options, done) => api.decode(base64, options, done), { again: true }))
add('decodeReCaptcha, reported as bad, again', () =>
  decode((options, done) => api.decodeReCaptcha('hcaptcha', sitekey, page, {}, options, done), { again: true }))
// The last two fetch pictures from the web first.
covers(api, ['decode', 'decodeReCaptcha', 'report', 'setApiKey'], ['decodeUrl', 'solveRecaptchaFromHtml'])
run('puppeteer-extra-plugin-recaptcha')
