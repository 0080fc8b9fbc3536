// LiveQuery's messages and the session cache, over several caches (valkey or redis) that know nothing of each other.
//
// Every message goes to every cache, and every server listens at every cache, so a cache that is lost costs nothing while another is left.
// Messages are numbered by the server that sends them: a copy is known by its number, and so is one that never came. Then `onLost` is
// called, and the clients of LiveQuery are made to connect anew: a gap is never silent. No cache is needed for a server's own clients.
//
// Nothing here ever waits for a cache longer than DEADLINE, and nothing throws: a cache that is away is one that holds nothing.
import { randomUUID } from "node:crypto";
import { lookup } from "node:dns/promises";
import { createClient } from "redis";

const DEADLINE = 200;  // milliseconds for one command
const BEAT = 1000;  // a cache is tried, and a server tells its last number, so often
const SILENT = 3 * BEAT;  // a cache through which one's own beat has not come for so long is down
const FORGET = 60 * BEAT;  // a server that was not heard for so long is gone
const WAITING = 1000;  // commands that may wait for an answer; beyond them the cache is as good as down
const CHANNEL = "baas:livequery";

const within = (promise) => {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("no answer in time")), DEADLINE); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

class Cache {
  heard = 0;  // when our own beat came through it last
  behind = false;  // it may hold what we could not delete

  constructor(host, port, { password, self, onMessage, log }) {
    const options = {
      password, disableOfflineQueue: true, commandsQueueMaxLength: WAITING,
      socket: { host, port, connectTimeout: BEAT, reconnectStrategy: (tries) => Math.min(50 * 2 ** tries, 2 * BEAT) },
    };
    this.name = `${host}:${port}`;
    this.self = self;
    this.clients = [createClient(options), createClient(options)];
    const [commands, feed] = this.clients;
    this.commands = commands;
    for (const client of this.clients) {
      client.on("error", (error) => log(this.name, error));
      client.connect().catch((error) => log(this.name, error));
    }
    const listen = () => feed.subscribe(CHANNEL, (text) => {
      const message = JSON.parse(text);
      if (message.from === self) this.heard = Date.now();
      else onMessage(message);
    }).catch((error) => log(this.name, error));
    feed.once("ready", listen);  // the client subscribes again by itself when it has connected again
  }

  get silent() { return Date.now() - this.heard > SILENT; }
  get up() { return this.commands.isReady && !this.silent && !this.behind; }

  async command(run) {
    try {
      return await within(run(this.commands));
    } catch {
      this.heard = 0;  // down until the next beat comes through: no request waits for it twice
      return undefined;
    }
  }

  async remove(run) { if ((await this.command(run)) === undefined) this.behind = true; }

  async beat(message) {
    // What could not be deleted while it was away must not be believed when it is back.
    if (this.behind && this.commands.isReady && (await this.command((client) => client.sendCommand(["FLUSHDB", "ASYNC"])))) this.behind = false;
    if (this.commands.isReady) await within(this.commands.publish(CHANNEL, message)).catch(() => undefined);
  }

  close() { for (const client of this.clients) if (client.isOpen) client.destroy(); }
}

export class Caches {
  #self = randomUUID();
  #number = 0;
  #started = Date.now();
  #caches = new Map();  // address -> Cache
  #since = new Map();  // address -> when it was made
  #servers = new Map();  // server -> { last, beat, at }: the last number that came, and that was told in its last beat
  #listeners = new Map();  // channel -> function
  #timer;

  // hosts: ["name:port"], where a name may have several addresses, a cache each. ttl: milliseconds.
  constructor({ hosts, password, ttl = 5000, onLost = () => undefined, log = () => undefined }) {
    Object.assign(this, { hosts, password, ttl, onLost, log });
  }

  async start() {
    const round = async () => {
      await this.#discover().catch((error) => this.log("caches", error));
      const beat = JSON.stringify({ from: this.#self, beat: this.#number });
      await Promise.all([...this.#caches.values()].map((cache) => cache.beat(beat)));
      for (const [server, { at }] of this.#servers) if (Date.now() - at > FORGET) this.#servers.delete(server);
      if (this.#timer !== null) this.#timer = setTimeout(round, BEAT);
    };
    await round();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    for (const cache of this.#caches.values()) cache.close();
  }

  get known() { return this.#caches.size; }
  get up() { return [...this.#caches.values()].filter((cache) => cache.up); }

  async #discover() {
    const found = await Promise.all(this.hosts.map(async (host) => {
      const at = host.lastIndexOf(":");
      const addresses = await lookup(host.slice(0, at), { all: true });
      return addresses.map(({ address }) => [address, Number(host.slice(at + 1))]);
    }));
    const wanted = new Map(found.flat().map(([host, port]) => [`${host}:${port}`, [host, port]]));
    for (const [name, cache] of this.#caches) {
      // One that is frozen keeps its connections; new ones tell when it is back.
      const stuck = cache.silent && Date.now() - this.#since.get(name) > 2 * SILENT;
      if (wanted.has(name) && !stuck) continue;
      cache.close();
      this.#caches.delete(name);
      if (wanted.has(name)) this.#connect(name, ...wanted.get(name)).behind = true;
    }
    for (const [name, [host, port]] of wanted) if (!this.#caches.has(name)) this.#connect(name, host, port);
  }

  #connect(name, host, port) {
    const cache = new Cache(host, port, { password: this.password, self: this.#self, onMessage: (message) => this.#receive(message), log: this.log });
    this.#caches.set(name, cache);
    this.#since.set(name, Date.now());
    return cache;
  }

  #receive({ from, number, beat, channel, text }) {
    const known = this.#servers.get(from);
    const server = known ?? { last: number === undefined ? beat : number - 1, beat: 0, at: 0 };
    // A server of which we never heard has sent what we missed, unless it is we who are new.
    if (!known && server.last > 0 && Date.now() - this.#started > SILENT) this.onLost();
    this.#servers.set(from, server);
    server.at = Date.now();
    if (number === undefined) {
      // Messages may still be on their way through another cache: the beat before tells.
      if (server.beat > server.last) {
        server.last = server.beat;
        this.onLost();
      }
      server.beat = beat;
    } else if (number > server.last) {
      if (number > server.last + 1) this.onLost();
      server.last = number;
      this.#listeners.get(channel)?.(text);
    }
  }

  // What Parse Server calls a PubSub adapter.
  createPublisher() {
    return {
      publish: (channel, text) => {
        this.#number += 1;
        setImmediate(() => this.#listeners.get(channel)?.(text));
        const message = JSON.stringify({ from: this.#self, number: this.#number, channel, text });
        for (const { commands } of this.#caches.values()) if (commands.isReady) commands.publish(CHANNEL, message).catch(() => undefined);
      },
    };
  }

  createSubscriber() {
    return {
      on: () => undefined,
      subscribe: (channel, listener) => this.#listeners.set(channel, listener),
      unsubscribe: (channel) => this.#listeners.delete(channel),
    };
  }

  // What Parse Server calls a cache adapter. A key is held by one cache, and deleted from all: which one holds it may have changed.
  #holder(key) {
    const up = this.up;
    let hash = 0;
    for (const character of key) hash = (hash * 31 + character.charCodeAt(0)) >>> 0;
    return up.sort((a, b) => (a.name < b.name ? -1 : 1))[hash % up.length];
  }

  async get(key) {
    const text = await this.#holder(key)?.command((client) => client.get(key));
    return text ? JSON.parse(text) : null;
  }

  async put(key, value, ttl = this.ttl) {
    await this.#holder(key)?.command((client) => client.set(key, JSON.stringify(value), { PX: Math.max(1, Math.min(ttl, this.ttl)) }));
  }

  async del(key) { await this.#everywhere((client) => client.del(key)); }
  async clear() { await this.#everywhere((client) => client.sendCommand(["FLUSHDB", "ASYNC"])); }

  async #everywhere(run) { await Promise.all([...this.#caches.values()].map((cache) => cache.remove(run))); }
}
