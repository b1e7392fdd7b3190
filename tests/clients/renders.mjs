// What users of rokka.io's JavaScript client do with render URLs, against the host given. Prints one JSON object.
//   node renders.mjs HOST KEY HASH SIGNING_KEY

import { get } from 'node:http'
import { createRequire } from 'node:module'

const rokka = createRequire(import.meta.url)('rokka').default
const [host, apiKey, hash, signingKey] = process.argv.slice(2)
const renderHost = `${host}/render/{organization}`
const { render, stacks, operations } = rokka({ apiHost: host, apiKey, renderHost, transport: { retries: 1 } })

// The response of a render URL. Names below localhost are not resolved by every system, so the host is connected to.
const seen = (url) =>
  new Promise((resolve, reject) => {
    const { host: name, pathname, search } = new URL(url)
    const { hostname, port } = new URL(host)
    get({ hostname, port, path: pathname + search, headers: { host: name } }, (response) => {
      const blocks = []
      response.on('data', (block) => blocks.push(block))
      response.on('end', () => {
        const body = Buffer.concat(blocks).toString('base64')
        resolve({ url, status: response.statusCode, type: response.headers['content-type'], body })
      })
    }).on('error', reject)
  })

await stacks.create('acme', 'thumb', {
  operations: [{ name: 'resize', options: { width: 40 }, expressions: { height: '$h' } }],
  variables: { h: 0 },
})
await stacks.create('acme', 'secret', { operations: [operations.resize(30)], options: { protected: true } })

const dynamic = [operations.resize(60, 30, { mode: 'fill' }), operations.crop(20, 20, { anchor: 'left_top' })]
const byName = rokka({ renderHost: `http://{organization}.localhost:${new URL(host).port}` }).render
const secret = byName.getUrl('acme', hash, 'png', 'secret') // the client only signs URLs with the organization in the host
const hour = 3600 * 1000
const result = {
  stack: await seen(render.getUrl('acme', hash, 'png', 'thumb')),
  dpr: await seen(render.getUrl('acme', hash, 'png', 'thumb', { stackoptions: { dpr: 2 } })),
  dynamic: await seen(render.getUrl('acme', hash, 'png', dynamic)),
  variables: await seen(render.getUrl('acme', hash, 'png', 'thumb', { variables: { h: 10 } })),
  longVariable: await seen(render.getUrl('acme', hash, 'png', 'thumb', { variables: { h: 10, text: 'a long text / with % and ?' } })),
  filename: await seen(render.getUrl('acme', hash, 'webp', 'thumb', { filename: 'red-barn' })),
  unsigned: await seen(secret),
  signed: await seen(render.signUrl(secret, signingKey)),
  expiring: await seen(render.signUrl(secret, signingKey, { until: new Date(Date.now() + hour) })),
  expired: await seen(render.signUrl(secret, signingKey, { until: new Date(Date.now() - hour) })),
}
console.log(JSON.stringify(result))
