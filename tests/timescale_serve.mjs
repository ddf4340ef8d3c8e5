// PostgreSQL's wire protocol in front of pglite with TimescaleDB: node timescale_serve.mjs PORT
// pglite takes whole messages only, and knows COPY FROM STDIN as a file: messages are framed here, and the data of a
// COPY are gathered and handed over as /dev/blob. One client is served at a time.
import net from 'node:net'
import { PGlite } from 'pglite'
import { timescaledb } from 'pglite/timescaledb'

const database = await PGlite.create('memory://', { extensions: { timescaledb } })
await database.exec('create extension if not exists timescaledb')

const HEADER = 5
const COPY_IN = /^\s*copy\b[\s\S]*\bfrom\s+stdin\b/i

const text = value => Buffer.from(`${value}\0`)

function message (type, body) {
  const header = Buffer.alloc(HEADER)
  header.write(type)
  header.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([header, body])
}

function refusal (error) {
  const fields = ['SERROR', 'VERROR', `C${error.code ?? 'XX000'}`, `M${error.message}`]
  return message('E', Buffer.concat([...fields.map(text), Buffer.alloc(1)]))
}

class Session {
  constructor (socket) {
    this.socket = socket
    this.state = 'I' // idle, T in a transaction, E in a failed one
    this.batch = [] // messages up to the next one that asks for an answer
    this.copy = null // the statement and the data of a COPY under way
  }

  async run (bytes) {
    const answer = Buffer.from(await database.execProtocolRaw(new Uint8Array(bytes)))
    for (let at = 0; at + HEADER <= answer.length; at += 1 + answer.readInt32BE(at + 1)) {
      if (answer[at] === 0x5a) this.state = String.fromCharCode(answer[at + HEADER]) // Z: ready for a query
    }
    this.socket.write(answer)
  }

  async endCopy (given) {
    const { statement, parts } = this.copy
    this.copy = null
    const ready = () => message('Z', Buffer.from(this.state))
    try {
      if (!given) throw Object.assign(new Error('COPY was given up by the client'), { code: '57014' })
      const query = statement.replace(/\bfrom\s+stdin\b/i, "from '/dev/blob'")
      const done = await database.query(query, [], { blob: new Blob(parts) })
      this.socket.write(Buffer.concat([message('C', text(`COPY ${done.affectedRows}`)), ready()]))
    } catch (error) {
      if (this.state === 'T') this.state = 'E'
      this.socket.write(Buffer.concat([refusal(error), ready()]))
    }
  }

  // Returns whether the client stays.
  async take (type, bytes) {
    if (this.copy !== null && type === 'd') {
      this.copy.parts.push(Buffer.from(bytes.subarray(HEADER)))
    } else if (this.copy !== null && (type === 'c' || type === 'f')) {
      await this.endCopy(type === 'c')
    } else if (type === 'Q' && COPY_IN.test(bytes.toString('utf8', HEADER, bytes.length - 1))) {
      const statement = bytes.toString('utf8', HEADER, bytes.length - 1)
      this.copy = { statement, parts: [] }
      this.socket.write(message('G', Buffer.from([/\bbinary\b/i.test(statement) ? 1 : 0, 0, 0])))
    } else if (type === 'X') {
      this.socket.end()
      return false
    } else {
      this.batch.push(bytes)
      if ('QSHp'.includes(type)) {
        const all = Buffer.concat(this.batch)
        this.batch = []
        await this.run(all)
      }
    }
    return true
  }

  async talk () {
    let received = Buffer.alloc(0)
    let isStarted = false
    for await (const part of this.socket) {
      received = Buffer.concat([received, part])
      for (;;) {
        const head = isStarted ? 1 : 0
        if (received.length < head + 4) break
        const size = head + received.readInt32BE(head)
        if (received.length < size) break
        const bytes = Buffer.from(received.subarray(0, size))
        received = received.subarray(size)
        if (isStarted) {
          if (!await this.take(String.fromCharCode(bytes[0]), bytes)) return
        } else if (size === 8) {
          this.socket.write('N') // neither TLS nor GSS
        } else {
          isStarted = true
          await this.run(bytes)
        }
      }
    }
  }

  async close () {
    if (this.state !== 'I') await database.exec('rollback')
  }
}

let last = Promise.resolve()
net.createServer(socket => {
  const session = new Session(socket)
  socket.on('error', () => {})
  last = last.then(() => session.talk())
    .catch(error => { console.error(error.message); socket.destroy() })
    .then(() => session.close())
    .catch(error => console.error(error.message))
}).listen(Number(process.argv[2] ?? 0), '127.0.0.1', function () { console.log('listening', this.address().port) })
