// @2captcha/captcha-solver: JSON, GET for tokens, POST with a JSON body for pictures, header_acao=1.
'use strict'

const { Solver } = require('@2captcha/captcha-solver')
const { add, run, solved, refused, covers, token, base64, page, sitekey, userAgent } = require('./calls')

const proxy = { proxy: 'user:secret@127.0.0.1:3128', proxytype: 'HTTP' }
const hint = { textinstructions: 'Müller & 50% = ?' }

const kinds = {
  recaptcha: { pageurl: page, googlekey: sitekey, action: 'verify', version: 'v3', min_score: 0.3, enterprise: 1 },
  hcaptcha: { pageurl: page, sitekey, data: 'rq+data/=' },
  geetest: { pageurl: page, gt: 'f1ab2cdefa3456789012345b6c78d90e', challenge: '12345678abc90123d45678ef90123a456b' },
  geetestV4: { pageurl: page, captcha_id: 'e392e1d7fd421dc63325744d5a2b9c73' },
  yandexSmart: { pageurl: page, sitekey },
  imageCaptcha: { body: base64, numeric: 4, min_len: 5 },
  funCaptcha: { pageurl: page, publickey: '12AB34CD-56F7-AB8C-9D01-2EF3456789A0', 'data[blob]': 'a+b/c=' },
  lemin: { pageurl: page, div_id: 'lemin-cropped-captcha', captcha_id: 'CROPPED_1abcd2f_a1234b567c890d12ef3a456bc78d901d' },
  amazonWaf: { pageurl: page, context: 'qoJYgnKsc+', iv: 'CgAHbCe2GgAAAAAj', sitekey: 'AQIDAHjcYu/GjX+QlghicBgQ==' },
  cloudflareTurnstile: { pageurl: page, sitekey, action: 'managed', userAgent },
  coordinates: { body: base64, ...hint },
  capyPuzzle: { pageurl: page, captchakey: 'PUZZLE_Abc1dEFghIJKLM2no34P56q7rStu8v' },
  dataDome: { pageurl: page, captcha_url: 'https://example.com/captcha/?initialCid=AHrlqAAA&t=fe', userAgent, ...proxy },
  cyberSiARA: { pageurl: page, master_url_id: 'OXR2LVNvCuXykkZbB8KZIfh162sNT8S2', userAgent },
  mtCaptcha: { pageurl: page, sitekey },
  cutCaptcha: { pageurl: page, miseryKey: 'a1488b66da00bf332a1488993a5443c79047e752', apiKey: 'SAb83IIB' },
  friendlyCaptcha: { pageurl: page, sitekey },
  boundingBox: { image: base64, ...hint },
  grid: { body: base64, rows: 3, cols: 3, ...hint },
  text: { textcaptcha: 'If tomorrow is Saturday, what day is today? key=1&key=2' },
  canvas: { body: base64, ...hint },
  rotate: { body: base64, angle: 40 },
  keyCaptcha: { pageurl: page, userId: '184015', sessionId: '0917788cad24ad3a69813c4fcd556061', webServerSign: '02f7f9669f1269595c4c69bcd4a3c52e', webServerSign2: 'd888700f6f324ec0f32b44c32c50bde1' },
  tencent: { pageurl: page, appId: '190014885' },
  atbCaptcha: { pageurl: page, appId: 'af25e409b33d722a95e56a230ff8771c', apiServer: 'https://example.com/api' },
  prosopo: { pageurl: page, sitekey },
  captchaFox: { pageurl: page, sitekey, userAgent, ...proxy },
  vkimage: { body: base64, steps: '[5,19,4]' },
  vkcaptcha: { redirect_uri: 'https://example.com/not_robot?key=not-the-key', userAgent, ...proxy },
  temu: { body: base64, part1: base64, part2: base64, part3: base64 },
  altcha: { pageurl: page, challengeUrl: 'https://example.com/challenge' },
  binance: { pageurl: page, sitekey: 'login', validateId: 'cb0bfefa598b4c3887661fde54ecd57b', userAgent },
  audio: { body: base64, lang: 'en' },
  yidun: { pageurl: page, sitekey },
  alibaba: { pageurl: page, sceneId: '1ww7426c4', prefix: 'dlw3kug' },
  tspd: { pageurl: page, tspdCookie: 'TS386a400d029=082670; TS386a400d078=1', htmlPageBase64: base64, ...proxy },
  basilisk: { pageurl: page, sitekey },
  hunt: { pageurl: page, apiGetLib: 'https://example.com/hd-api/external/apps/a.js' },
  dragAndDrop: { body: base64, images: JSON.stringify([base64, base64]) }
}

const solver = () => new Solver(token, 1000)

for (const [kind, params] of Object.entries(kinds)) {
  add(kind, async () => {
    const { id, ...answer } = await solver()[kind]({ ...params })
    return solved(id, answer)
  })
}
add('balance', async () => {
  const balance = await solver().balance()
  if (!(balance > 10)) throw new Error(`not the sum of the keys: ${balance}`)
  return balance
})
add('goodReport', async () => solver().goodReport((await solver().hcaptcha(kinds.hcaptcha)).id))
add('badReport, twice', async () => {
  const { id } = await solver().hcaptcha(kinds.hcaptcha)
  return [await solver().badReport(id), await solver().badReport(id)]
})
add('goodReport of an unknown task', () => refused('ERROR_WRONG_CAPTCHA_ID', () => solver().goodReport('17')))
add('pollResponse of an unknown task', () => refused('ERROR_WRONG_CAPTCHA_ID', () => solver().pollResponse('17')))
covers(Solver.prototype, Object.keys(kinds), ['constructor', 'balance', 'goodReport', 'badReport', 'pollResponse'])
run('@2captcha/captcha-solver')
