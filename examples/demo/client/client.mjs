// Writes and reads rows through the gateway with the real client, and says what was acknowledged.
//
//   node client.mjs check             insert, read and refuse, once; exit code 1 with a sentence if something is not as it should be
//   node client.mjs write WRITERS     rows with checksums until SIGTERM; each acknowledgement is a line of JSON on stdout
//   node client.mjs verify < FILE     reads the acknowledged ids on stdin back; a line of JSON says what is missing
//
// BAAS_URL is the gateway, BAAS_ANON_KEY and BAAS_SERVICE_KEY are the instance's API keys.
import { createHash, randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import WebSocket from 'ws'

// On Node 20, supabase-js says as it is loaded that a later version of it will not run there. This is a version that does.
const { warn } = console
console.warn = (said, ...more) => String(said).includes('Node.js 20 and below are deprecated') || warn(said, ...more)
const { createClient } = await import('@supabase/supabase-js')
console.warn = warn

const DEADLINE_MS = 2000 // a client without a deadline of its own hangs on a server that lost power
const PAGE = 200

const withDeadline = (url, options = {}) => fetch(url, { ...options, signal: AbortSignal.timeout(DEADLINE_MS) })
const connect = (key) =>
  createClient(process.env.BAAS_URL, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
    global: { fetch: withDeadline },
  })
const service = connect(process.env.BAAS_SERVICE_KEY)
const checksum = (id, payload) => createHash('sha256').update(`${id}:${payload}`).digest('hex')
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
const fail = (sentence) => {
  process.stderr.write(`${sentence}\n`)
  process.exit(1)
}

async function check() {
  const id = randomUUID()
  const row = { id, writer: -1, payload: 'hello', checksum: checksum(id, 'hello') }
  const anonymous = connect(process.env.BAAS_ANON_KEY)
  const refused = await anonymous.from('orders').insert({ ...row, id: randomUUID() })
  if (refused.error?.code !== '42501') fail(`row-level security did not refuse an anonymous insert: ${JSON.stringify(refused)}`)
  const made = await service.from('orders').insert(row)
  if (made.error) fail(`an insert with the service key failed: ${made.error.message}`)
  const read = await anonymous.from('orders').select('payload').eq('id', id).single()
  if (read.error || read.data.payload !== 'hello') fail(`the row could not be read back: ${JSON.stringify(read)}`)
  say({ inserted: id, read: read.data.payload, anonymousInsert: refused.error.message })
}

async function write(writers) {
  let going = true
  process.on('SIGTERM', () => { going = false })
  process.on('SIGINT', () => { going = false })
  const one = async (writer) => {
    while (going) {
      const id = randomUUID()
      const payload = `${writer}-${Date.now()}`
      const { error } = await service.from('orders').insert({ id, writer, payload, checksum: checksum(id, payload) })
      say(error ? { at: Date.now(), error: error.message || error.code } : { at: Date.now(), id })
      await pause(error ? 50 : 20)
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, writer) => one(writer)))
}

async function verify() {
  const wanted = []
  for await (const line of createInterface({ input: process.stdin })) if (line.trim()) wanted.push(line.trim())
  const lost = []
  const damaged = []
  for (let start = 0; start < wanted.length; start += PAGE) {
    const ids = wanted.slice(start, start + PAGE)
    let answer
    for (let attempt = 0; attempt < 20; attempt++) {
      answer = await service.from('orders').select('id,payload,checksum').in('id', ids)
      if (!answer.error) break
      await pause(500)
    }
    if (answer.error) fail(`could not read the rows back: ${answer.error.message}`)
    const rows = new Map(answer.data.map((row) => [row.id, row]))
    for (const id of ids) {
      const row = rows.get(id)
      if (!row) lost.push(id)
      else if (row.checksum !== checksum(id, row.payload)) damaged.push(id)
    }
  }
  say({ acknowledged: wanted.length, lost, damaged })
}

const [command, argument] = process.argv.slice(2)
if (command === 'check') await check()
else if (command === 'write') await write(Number(argument ?? 4))
else if (command === 'verify') await verify()
else fail('usage: node client.mjs check | write WRITERS | verify')
