// What the database is right now, asked twice a second over a connection of our own, and at once when that is ended: whether it answers, and
// takes writes.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import pg from "pg";

const require = createRequire(import.meta.url);
const { PostgresStorageAdapter } = require("parse-server/lib/Adapters/Storage/Postgres/PostgresStorageAdapter.js");
const { default: schemaCache } = require("parse-server/lib/Adapters/Cache/SchemaCache.js");

const INTERVAL = 500;  // milliseconds between two checks
const DEADLINE = 1500;  // for one answer, and for a connection; with the interval: a frozen database is known within 2.5 s
const HURRY = 100;  // between two checks in the first seconds without a primary: one that moves is back within one
const HURRIED = 50;  // such checks, then it is no move
const MOVES = 1500;  // so long a query waits for a primary to connect to; below connectionTimeoutMillis, which ends the wait as an error
const TOLD = 3000;  // an answer older than this says nothing
const EXPIRE = 60_000;  // between two deletions of requests that idempotency need not remember any more
const STATE = `SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
  concat(inet_server_addr(), ' ', pg_postmaster_start_time()) AS server, to_regproc('idempotency_delete_expired_records') AS expire`;

// A rotation goes on to another user name (docs/keys.md), and its files come to servers that run: the name of before with the password
// of after would be refused. So both are read together, from one file, at each connection, and one that was written by hand needs no
// restart either. While the file is no URI, the one before counts.
function loginFrom(uriFile) {
  let said;
  const read = () => {
    const { username, password } = new URL(readFileSync(uriFile, "utf8").trim());
    said = { user: decodeURIComponent(username), password: decodeURIComponent(password) };
  };
  read();
  return () => {
    try { read(); } catch { /* as before */ }
    return said;
  };
}

class Client extends pg.Client {
  constructor({ login, ...options }) { super({ ...options, ...login() }); }
}

export function connectionOptions({ uriFile, tls, caFile, applicationName = "parse-server" }) {
  const uri = new URL(readFileSync(uriFile, "utf8").trim());
  const ssl = tls && (caFile ? { ca: readFileSync(caFile, "utf8"), rejectUnauthorized: true } : { rejectUnauthorized: false });
  return {
    host: uri.hostname, port: Number(uri.port || 5432), database: decodeURIComponent(uri.pathname.slice(1)), login: loginFrom(uriFile),
    ssl: ssl || false, keepAlive: true, application_name: applicationName, connectionTimeoutMillis: DEADLINE + INTERVAL,
  };
}

const cut = (client) => client?.connection?.stream?.destroy();

const SCHEMA_CHANGED = "baas:schema";
const SCHEMA_KNOWN = 5000;  // milliseconds that a server goes by what it knows of classes and fields when nobody tells it

// What the pool connects with. While the primary moves, a connection would be refused, or lead to one that takes no writes yet, and what
// some request does next would fail: it waits instead. (Its connections so far were ended as they did nothing.) What is known of the primary is
// some milliseconds old, so a connection may be refused all the same: `unsent` says that nothing was asked over it.
const patient = (database) => class extends Client {
  waits = true;

  connect(callback) {
    database.untilPrimary(MOVES).then(() => {
      this.waits = false;
      super.connect((error, ...more) => callback(error && Object.assign(error, { unsent: true }), ...more));
    });
  }
};

// A session is ended as it does nothing, and a query that was sent in that moment has no answer. One that only reads is asked once more; of one
// that writes, outside and inside a transaction, nobody knows whether it was done.
const isLost = (error) => ["57P01", "57P02", "ECONNRESET", "EPIPE"].includes(error?.code) || /^Connection terminated/.test(error?.message ?? "");

// What was not sent is asked again in any case: the second half of a sign-up, after an account that is there.
function asksAgain(client) {
  const again = (once, mayRepeat) => async function (...given) {
    for (const until = Date.now() + MOVES; ;) {
      try {
        return await once.apply(this, given);
      } catch (error) {
        if (!error.unsent && mayRepeat(error, ...given)) return once.apply(this, given);
        if (!error.unsent || Date.now() > until) throw error;
        await new Promise((resolve) => setTimeout(resolve, HURRY / 5));
      }
    }
  };
  client.query = again(client.query, (error, text) => isLost(error) && /^\s*SELECT\b/i.test(text));
  // Of a transaction, and of a task, the connection is made before anything of it runs.
  for (const name of ["tx", "task"]) client[name] = again(client[name], () => false);
}

// `caches` carry to all servers that a class or a field is new: without that, one denies what another has just made.
export function storageAdapter(options, { poolSize, queryTimeoutMs }, caches, database) {
  // A query that timed out leaves its connection waiting for an answer that may never come, and the pool would hand it out again.
  const initOptions = { error: (error, { client }) => { if (error.message === "Query read timeout") cut(client); } };
  const adapter = new PostgresStorageAdapter({
    databaseOptions: { ...options, Client: patient(database), max: poolSize, query_timeout: queryTimeoutMs, schemaCacheTtl: SCHEMA_KNOWN, initOptions },
  });
  asksAgain(adapter._client);
  adapter._notifySchemaChange = () => caches.createPublisher().publish(SCHEMA_CHANGED, "");
  caches.createSubscriber().subscribe(SCHEMA_CHANGED, () => schemaCache.clear());
  return adapter;
}

export class Database {
  state = { answers: false, writable: false, standby: false, why: "not asked yet", at: 0 };
  #client;
  #hurried = 0;
  #asks;
  #server;
  #expired = Date.now();
  #timer;

  // onMoved: what else is connected is connected to a server that is not the one any more.
  constructor(options, { onMoved = () => undefined, log = () => undefined } = {}) {
    Object.assign(this, { options, onMoved, log });
  }

  get fresh() { return Date.now() - this.state.at < TOLD; }
  get writable() { return this.fresh && this.state.writable; }
  get answers() { return this.fresh && this.state.answers; }
  get primary() { return this.answers && !this.state.standby; }
  get why() { return this.fresh ? this.state.why : "the database does not answer"; }

  start() { this.#soon(); }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    cut(this.#client);
  }

  async untilPrimary(milliseconds) {
    for (const until = Date.now() + milliseconds; !this.primary && Date.now() < until;) await new Promise((resolve) => setTimeout(resolve, HURRY / 5));
  }

  async untilWritable() {
    while (!this.writable) await new Promise((resolve) => setTimeout(resolve, INTERVAL / 5));
  }

  // Runs `does` while no other server runs its own: two that make the same tables at once hinder each other, and Parse Server
  // takes no notice of what it could not make. The lock goes with the connection.
  async alone(does) {
    const client = new Client(this.options);
    client.on("error", () => undefined);
    try {
      await client.connect();
      await client.query(`SET lock_timeout = '60s'; SELECT pg_advisory_lock(hashtext('parse-server/start'))`);
      return await does();
    } finally {
      cut(client);
    }
  }

  #soon() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#asks ??= this.#ask();
  }

  async #ask() {
    await this.#check();
    this.#hurried = this.primary ? 0 : this.#hurried + 1;
    this.#asks = undefined;
    if (this.#timer !== null) this.#timer = setTimeout(() => this.#soon(), this.primary || this.#hurried > HURRIED ? INTERVAL : HURRY);
  }

  #is(state) {
    const before = this.state;
    this.state = { ...state, at: Date.now() };
    if (before.why !== state.why) this.log(state.why || "the database takes writes");
    return before;
  }

  #isAway(error) {
    this.#forget();
    this.#is({ answers: false, writable: false, standby: false, why: `the database does not answer: ${error.message}` });
  }

  async #check() {
    try {
      if (!this.#client) await this.#connect();
      const { rows: [{ standby, read_only, server, expire }] } = await this.#client.query(STATE);
      const why = standby ? "the database is a standby" : read_only ? "the database takes no writes" : "";
      const before = this.#is({ answers: true, writable: why === "", standby, why });
      // A session that began while writes were held off may go on refusing them.
      if ((this.#server && this.#server !== server) || (before.answers && !before.writable && this.state.writable)) this.onMoved();
      if (!this.state.writable) this.#forget();
      this.#server = server;
      if (this.writable && expire && Date.now() - this.#expired > EXPIRE) {
        this.#expired = Date.now();
        await this.#client.query("SELECT idempotency_delete_expired_records()");
      }
    } catch (error) {
      this.#isAway(error);
    }
  }

  #forget() {
    cut(this.#client);
    this.#client = undefined;
  }

  async #connect() {
    const client = new Client({ ...this.options, connectionTimeoutMillis: DEADLINE, query_timeout: DEADLINE });
    // Between two checks: PostgreSQL ends it as it ends the others, so nobody has to find out by a query that fails.
    client.on("error", (error) => {
      if (this.#client !== client || this.#asks) return;  // a check that is under way says it
      this.#isAway(error);
      this.#soon();
    });
    this.#client = client;
    await client.connect();
  }
}

// Ends the adapter's connections: queries that wait for a server that is gone fail now and not at their deadline.
export function reconnect(adapter) {
  for (const client of adapter._client.$pool._clients) if (!client.waits) cut(client);
}
