// What the administrator of a site does with rokka.io's JavaScript client: users, keys, tokens, organizations,
// members, numbers and signed URLs, against the host given. Prints one JSON object.
//   node accounts.mjs HOST KEY PICTURE

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as wait } from 'node:timers/promises'

const rokka = createRequire(import.meta.url)('rokka').default
const [host, apiKey, picture] = process.argv.slice(2)
const transport = { retries: 1, minTimeout: 10, requestTimeout: 60000 }
const client = (config) => rokka({ apiHost: host, transport, ...config })
const alice = client({ apiKey })

// What came of a call, refused or not.
const said = (promise) =>
  promise.then(
    (answer) => ({ status: answer.statusCode, body: answer.body }),
    (error) => ({ status: error.statusCode ?? error.status, body: error.error ?? String(error) }),
  )

// A client that asks for its token and gives it away again, as in a browser; `kept` is all it gave away.
const tokenClient = (token, config) => {
  const kept = []
  const current = () => (kept.length ? kept.at(-1) : token)
  const made = client({ apiTokenGetCallback: current, apiTokenSetCallback: (value) => kept.push(value), ...config })
  return Object.assign(made, { kept })
}

const newToken = async (key, options) => (await tokenClient(null).user.getNewToken(key, options)).body

const users = async () => {
  const { users } = client({})
  const created = await said(users.create('dora@example.org'))
  const withOrganization = await said(users.create('erik@example.org', 'eriks'))
  const dora = client({ apiKey: created.body.api_key })
  const erik = client({ apiKey: withOrganization.body.api_key })
  return {
    created,
    withOrganization,
    badAddress: await said(users.create('nobody')),
    takenOrganization: await said(users.create('felix@example.org', 'acme')),
    badOrganization: await said(users.create('felix@example.org', 'Not a Name')),
    idOfCreated: await dora.users.getId(),
    id: await alice.users.getId(),
    membersOfNewOrganization: await said(erik.memberships.list('eriks')),
    membersOfTaken: await said(alice.memberships.list('acme')),
  }
}

const keys = async () => {
  const added = await said(alice.user.addApiKey('for the shop'))
  const more = []
  for (const comment of [undefined, 'three', 'four']) more.push(await said(alice.user.addApiKey(comment)))
  const other = client({ apiKey: added.body.api_key })
  const result = {
    id: await alice.user.getId(),
    user: await said(alice.user.get()),
    added,
    addedWithoutComment: more[0],
    oneTooMany: await said(alice.user.addApiKey('six')),
    list: await said(alice.user.listApiKeys()),
    current: await said(alice.user.getCurrentApiKey()),
    currentOfOther: await said(other.user.getCurrentApiKey()),
    deletedItself: await said(other.user.deleteApiKey(added.body.id)),
    deleted: await said(alice.user.deleteApiKey(added.body.id)),
    deletedAgain: await said(alice.user.deleteApiKey(added.body.id)),
    usedAfterwards: await said(other.user.get()),
  }
  for (const one of more) await alice.user.deleteApiKey(one.body.id)
  return { ...result, listAfterwards: await said(alice.user.listApiKeys()) }
}

const tokens = async () => {
  const long = await newToken(apiKey, { expires_in: 7200, renewable: true })
  const short = await newToken(apiKey, { expires_in: 600, renewable: true })
  const fixed = await newToken(apiKey, { expires_in: 600, renewable: false })

  const fetching = tokenClient(null, { apiKey })
  const withKey = {
    before: fetching.user.getToken(),
    answer: await said(fetching.organizations.get('acme')),
    after: fetching.user.getToken(),
    kept: fetching.kept,
  }

  const resting = tokenClient(long.token)
  const lasting = {
    answer: await said(resting.organizations.get('acme')),
    current: await said(resting.user.getCurrentApiKey()),
    got: resting.user.getToken(),
    seconds: resting.user.getTokenIsValidFor(),
    kept: resting.kept,
  }

  await wait(1100) // a successor of the same second would be the same token
  const renewing = tokenClient(short.token, { apiTokenRefreshTime: 3600 })
  const renewed = {
    first: short,
    answer: await said(renewing.organizations.get('acme')),
    kept: [...renewing.kept],
    got: renewing.user.getToken(),
    again: (await wait(1100), await said(renewing.user.get())),
    keptAgain: renewing.kept,
  }

  const ending = tokenClient(fixed.token, { apiTokenRefreshTime: 3600 })
  const notRenewable = {
    answer: await said(ending.user.get()),
    kept: [...ending.kept],
    asked: await said(ending.user.getNewToken()),
  }

  const greedy = tokenClient(short.token, { apiTokenRefreshTime: 3600, apiTokenOptions: { expires_in: 7200 } })
  const longer = { answer: await said(greedy.user.get()), kept: greedy.kept }

  const lost = (await alice.user.addApiKey('to be lost')).body
  const orphan = tokenClient((await newToken(lost.api_key, { expires_in: 7200, renewable: true })).token)
  const before = await said(orphan.user.get())
  await alice.user.deleteApiKey(lost.id)
  const after = await said(orphan.user.get())
  const ofDeletedKey = { before, after, kept: [...orphan.kept], then: await said(orphan.user.get()) }

  return {
    long,
    free: await newToken(apiKey, { no_ip_protection: true }),
    bound: await newToken(apiKey, { ips: 'request_ip,192.0.2.0/24,' }),
    contradiction: await said(tokenClient(null).user.getNewToken(apiKey, { no_ip_protection: true, ips: '192.0.2.7' })),
    withKey,
    lasting,
    renewed,
    notRenewable,
    longer,
    ofDeletedKey,
  }
}

const organizations = async () => {
  const { organizations } = alice
  const stranger = client({ apiKey: (await client({}).users.create('frank@example.org')).body.api_key })
  return {
    got: await said(organizations.get('acme')),
    unknown: await said(organizations.get('nobody')),
    badName: await said(organizations.get('Not-A-Name')),
    ofStranger: await said(stranger.organizations.get('acme')),
    created: await said(organizations.create('second', 'bills@example.org', 'Second Inc.')),
    changed: await said(organizations.create('second', 'bills@example.org', 'Second Ltd.')),
    taken: await said(stranger.organizations.create('second', 'frank@example.org', 'Mine')),
    optionTrue: await said(organizations.setOption('second', organizations.OPTION_PROTECT_DYNAMIC_STACK, true)),
    optionFalse: await said(organizations.setOption('second', organizations.OPTION_PROTECT_DYNAMIC_STACK, false)),
    optionText: await said(organizations.setOption('second', 'render_org_fallback', 'acme')),
    optionUnknown: await said(organizations.setOption('second', 'colour', 'red')),
    optionOfWrongKind: await said(organizations.setOption('second', 'protect_dynamic_stack', 'red')),
    options: await said(
      organizations.setOptions('second', {
        protect_dynamic_stack: true,
        remote_basepath: 'https://example.com/pictures',
      }),
    ),
    optionsOfStranger: await said(stranger.organizations.setOptions('second', { protect_dynamic_stack: false })),
    gotAfterwards: await said(organizations.get('second')),
  }
}

const memberships = async () => {
  const { memberships } = alice
  const { READ, WRITE, UPLOAD } = memberships.ROLES
  const ownId = await alice.user.getId()
  const grace = (await client({}).users.create('grace@example.org')).body.id
  const made = await said(memberships.createWithNewUser('acme', [WRITE], 'shop'))
  const id = made.body.user_id
  const shop = client({ apiKey: made.body.api_key })
  return {
    made,
    listed: await said(memberships.list('acme')),
    got: await said(memberships.get('acme', id)),
    listedByWriter: await said(shop.memberships.list('acme')),
    organizationOfWriter: await said(shop.organizations.get('acme')),
    unchanged: await said(memberships.create('acme', id, WRITE, 'shop')),
    unchangedWithoutComment: await said(memberships.create('acme', id, [WRITE])),
    changed: await said(memberships.create('acme', id, [READ, UPLOAD], 'public shop')),
    userOfPublicKey: await said(shop.user.get()),
    keysOfPublicKey: await said(shop.user.listApiKeys()),
    added: await said(memberships.create('acme', grace, UPLOAD)),
    unknownUser: await said(memberships.create('acme', '00000000-0000-4000-8000-000000000000', READ)),
    lastAdminChanged: await said(memberships.create('acme', ownId, [WRITE])),
    lastAdminDeleted: await said(memberships.delete('acme', ownId)),
    deleted: await said(memberships.delete('acme', id)),
    deletedAgain: await said(memberships.delete('acme', id)),
    gotDeleted: await said(memberships.get('acme', id)),
    usedAfterwards: await said(shop.organizations.get('acme')),
    listedAfterwards: await said(memberships.list('acme')),
  }
}

const reports = async () => {
  const [image] = (await alice.sourceimages.create('acme', 'harbour.png', readFileSync(picture))).body.items
  await alice.sourceimages.downloadAsBuffer('acme', image.hash)
  const until = Date.now() + 15_000 // downloads are written down every few seconds
  let stats = await said(alice.stats.get('acme'))
  while (!stats.body.bytes_downloaded.some((day) => day.value) && Date.now() < until) {
    await wait(250)
    stats = await said(alice.stats.get('acme'))
  }
  const today = stats.body.bytes_downloaded[0].timestamp.slice(0, 10)
  return {
    stats,
    statsOfToday: await said(alice.stats.get('acme', today, today)),
    statsOfLongAgo: await said(alice.stats.get('acme', '2017-01-01', '2017-01-31')),
    statsBackwards: await said(alice.stats.get('acme', '2017-01-31', '2017-01-01')),
    billing: await said(alice.billing.get('acme')),
    billingOfMonths: await said(alice.billing.get('acme', '2017-01-01', '2017-01-31')),
  }
}

const signing = async () => {
  const url = 'https://acme.example.org/dynamic/abc123.jpg'
  return {
    url,
    keys: (await alice.organizations.get('acme')).body.signing_keys,
    signed: await said(alice.utils.signUrl('acme', url)),
    signedAndRounded: await said(alice.utils.signUrl('acme', url, { roundDateUpTo: 600 })),
    ofOthers: await said(alice.utils.signUrl('acme', 'https://other.example.org/dynamic/abc123.jpg')),
  }
}

const result = {
  users: await users(),
  keys: await keys(),
  tokens: await tokens(),
  organizations: await organizations(),
  memberships: await memberships(),
  reports: await reports(),
  signing: await signing(),
  operations: await said(client({}).operations.list()),
  stackOptions: await said(client({}).stackoptions.get()),
}
console.log(JSON.stringify(result))
