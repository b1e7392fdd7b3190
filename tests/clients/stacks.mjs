// What users of rokka.io's JavaScript client do with stacks, against the host given. Prints one JSON object.
//   node stacks.mjs HOST KEY

import { createRequire } from 'node:module'

const rokka = createRequire(import.meta.url)('rokka').default
const [host, apiKey] = process.argv.slice(2)
const transport = { retries: 1, minTimeout: 10, requestTimeout: 60000 }
const { stacks, operations, stackoptions, expressions } = rokka({ apiHost: host, apiKey, transport })

// The response of a call, whether it succeeds or not.
const answer = (promise) =>
  promise.then(
    (response) => ({ status: response.statusCode, body: response.body }),
    (error) => ({ status: error.statusCode ?? error.status, body: error.error ?? String(error) }),
  )

const config = {
  operations: [operations.resize(200, 100, { mode: 'fill' }), operations.rotate(45)],
  options: { 'jpg.quality': 60, dpr: 2 },
  expressions: [expressions.default('options.dpr > 1.5', { 'jpg.quality': 45 })],
  variables: { w: 100, h: '$w / 2' },
}

const result = {
  created: await answer(stacks.create('acme', 'thumb', config)),
  createdAgain: await answer(stacks.create('acme', 'thumb', config)),
  overwritten: await answer(stacks.create('acme', 'thumb', { operations: [] }, { overwrite: true })),
  fromOperations: await answer(stacks.create('acme', 'bare', [{ name: 'grayscale' }])),
  invalid: await answer(stacks.create('acme', 'invalid', { operations: [{ name: 'resize', options: { widht: 1 } }] })),
  got: await answer(stacks.get('acme', 'bare')),
  missing: await answer(stacks.get('acme', 'missing')),
  list: await answer(stacks.list('acme')),
  firstPage: await answer(stacks.list('acme', 1)),
  cacheCleared: await answer(stacks.invalidateCache('acme', 'thumb')),
  deleted: await answer(stacks.delete('acme', 'bare')),
  deletedAgain: await answer(stacks.delete('acme', 'bare')),
  operations: await answer(operations.list()),
  stackOptions: await answer(stackoptions.get()),
}
result.secondPage = await answer(stacks.list('acme', 1, result.firstPage.body.cursor))
console.log(JSON.stringify(result))
