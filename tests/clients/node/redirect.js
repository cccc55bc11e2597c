// Preloaded with --require. These clients hold their vendor's address as a constant; as a hosts file would, this sends
// their connections to Sidekey and leaves all else, the Host header and the name in TLS included, as it was.
'use strict'

const http = require('http')
const https = require('https')

const vendors = new Set(['2captcha.com', 'rucaptcha.com'])

function redirect(agent, to) {
  const connect = agent.createConnection
  agent.createConnection = function (options, ...rest) {
    if (!vendors.has(options.host)) {
      throw new Error(`a client called ${options.host}, which is no vendor's host`)
    }
    return connect.call(this, { ...options, host: to.hostname, port: to.port }, ...rest)
  }
}

redirect(http.Agent.prototype, new URL(process.env.SIDEKEY_URL))
redirect(https.Agent.prototype, new URL(`https://${process.env.SIDEKEY_TLS}`))
