// What a site does with rokka.io's JavaScript client, against the host given. Prints one JSON object.
//   node rokka.mjs HOST KEY PICTURE SVG LARGE URL

import { createReadStream, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const rokka = createRequire(import.meta.url)('rokka').default
const [host, apiKey, picture, svg, large, url] = process.argv.slice(2)
const client = (key) => rokka({ apiKey: key, apiHost: host, transport: { retries: 1, minTimeout: 10, requestTimeout: 60000 } })
const images = client(apiKey).sourceimages

const refused = (promise) =>
  promise.then(
    () => ({ refused: false }),
    (error) => ({ refused: true, status: error.statusCode, error: error.error, message: String(error.message) }),
  )

const created = await images.create('acme', 'harbour.jpg', createReadStream(picture))
const drawing = await images.create('acme', 'drawing.svg', readFileSync(svg))
const described = await images.create(
  'acme',
  'again.jpg',
  createReadStream(picture),
  { meta_user: { foo: 'bar', 'int:year': 2019 }, meta_dynamic: { subject_area: { x: 10, y: 20 } }, options: { protected: true } },
  { optimize_source: true },
)
const hash = created.body.items[0].hash

const result = {
  created: created.body,
  drawing: drawing.body,
  described: described.body,
  got: (await images.get('acme', hash)).body,
  gotByShortHash: (await images.get('acme', created.body.items[0].short_hash)).body,
  list: (await images.list('acme')).body,
  page: (await images.list('acme', { limit: 1, offset: 1, sort: 'created desc' })).body,
  next: (await images.list('acme', { limit: 2, offset: (await images.list('acme', { limit: 2 })).body.cursor })).body,
  byBinaryHash: (await images.getWithBinaryHash('acme', created.body.items[0].binary_hash)).body,
  downloaded: Buffer.from((await images.downloadAsBuffer('acme', hash)).body).toString('base64'),
  unknownImage: await refused(images.get('acme', '0'.repeat(40))),
  unknownOrganization: await refused(images.list('nobody')),
  badKey: await refused(client('wrong').sourceimages.list('acme')),
  badSort: await refused(images.list('acme', { sort: 'created sideways' })),
  byUrl: (await images.createByUrl('acme', url, { meta_user: { from: 'afar' } })).body,
  privateUrl: await refused(images.createByUrl('acme', 'http://127.0.0.1/a.png')),
  tooLarge: await refused(images.create('acme', 'large.jpg', createReadStream(large))),
}
console.log(JSON.stringify(result))
