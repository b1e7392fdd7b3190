// What may happen to a picture after its upload, with rokka.io's JavaScript client, against the host given.
// Prints one JSON object: for each call the status, the answer, and the Location where there is one.
//   node lifecycle.mjs HOST KEY PICTURE...

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const rokka = createRequire(import.meta.url)('rokka').default
const [host, apiKey, ...pictures] = process.argv.slice(2)
const client = rokka({ apiKey, apiHost: host, transport: { retries: 1, minTimeout: 10, requestTimeout: 60000 } })
const images = client.sourceimages

const said = (promise) =>
  promise.then(
    (answer) => ({ status: answer.statusCode, body: answer.body, location: answer.response?.headers?.get('location') }),
    (error) => ({ status: error.statusCode ?? error.status, body: error.error ?? String(error) }),
  )
// The client hands lists out as a stream, which it reads as text: what an archive holds is for others to see.
const streamed = (promise) =>
  promise.then(({ statusCode, response }) => ({ status: statusCode, type: response.headers.get('content-type') }))
const get = (hash, organization = 'acme', query = {}) => said(images.get(organization, hash, query))

const uploaded = []
for (const picture of pictures) {
  uploaded.push((await images.create('acme', 'harbour.png', readFileSync(picture))).body.items[0])
}
const [one, two, three] = uploaded.map((item) => item.hash)
await client.organizations.create('stage', 'alice@example.org', 'Stage')

const result = {
  uploaded,
  deleted: await said(images.delete('acme', one)),
  deletedAgain: await said(images.delete('acme', one)),
  gotDeleted: await get(one),
  gotFromTrash: await get(one, 'acme', { deleted: true }),
  trash: await said(images.list('acme', { deleted: true })),
  restored: await said(images.restore('acme', one)),
  gotRestored: await get(one),
  locked: await said(images.setLocked('acme', one, true)),
  deletedLocked: await said(images.delete('acme', one)),
  describedLocked: await said(images.meta.add('acme', one, { title: 'no' })),
  unlocked: await said(images.setLocked('acme', one, false)),
  renamed: await said(images.putName('acme', one, 'quay.png')),
  replaced: await said(images.meta.replace('acme', one, { title: 'Quay', 'int:year': 2019 })),
  set: await said(images.meta.set('acme', one, 'title', 'Harbour')),
  added: await said(images.meta.add('acme', one, { 'array:tags': ['boat', 'lake'] })),
  meta: await said(images.meta.get('acme', one)),
  removed: await said(images.meta.delete('acme', one, 'title')),
  gotChanged: await get(one),
  copied: await said(images.copy('acme', one, 'stage')),
  gotCopy: await get(one, 'stage'),
  copiedAgain: await said(images.copy('acme', one, 'stage', false)),
  overwritten: await said(images.copy('acme', one, 'stage', true)),
  copiedAll: await said(images.copyAll('acme', [one, two, three, '0'.repeat(40)], 'stage')),
  copiedBytes: Buffer.from((await images.downloadAsBuffer('stage', two)).body).toString('base64'),
  alias: await said(images.alias.create('acme', 'logo', { hash: one })),
  aliasAgain: await said(images.alias.create('acme', 'logo', { hash: two })),
  aliasChanged: await said(images.alias.create('acme', 'logo', { hash: two }, { overwrite: true })),
  aliasGot: await said(images.alias.get('acme', 'logo')),
  aliasDeleted: await said(images.alias.delete('acme', 'logo')),
  found: await said(images.list('acme', { search: { 'user:array:tags': 'boat' }, sort: ['user:int:year desc', 'name'], facets: 'user:array:tags' })),
  foundNothing: await said(images.list('acme', { search: { 'user:int:year': '[2020,}' } })),
  area: await said(images.setSubjectArea('acme', one, { x: 3, y: 2, width: 4, height: 5 })),
  version: await said(images.addDynamicMetaData('acme', one, 'version', { text: '2' }, { keepHash: true })),
  versionDeleted: await said(images.deleteDynamicMetaData('acme', one, 'version', { keepHash: true })),
  protected: await said(images.setProtected('acme', two, true, { deletePrevious: true })),
  gotPrevious: await get(two),
  archive: await streamed(images.downloadList('acme')),
  deletedWithBinaryHash: await said(images.deleteWithBinaryHash('acme', uploaded[2].binary_hash)),
  left: await said(images.list('acme')),
}
console.log(JSON.stringify(result))
