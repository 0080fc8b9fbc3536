// The scenario of backend.mjs over and over, while something happens to the backend.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const ERRORS_TOLD = 20;

/** Operations as a client sees them (after supabase-js's own retries), and the HTTP requests beneath. Times in milliseconds. */
class Tally {
  operations = new Map();
  requests = 0;
  failedRequests = 0;
  errors = [];
  statuses = {};

  // Looks, and changes nothing.
  fetch = async (input, init) => {
    this.requests += 1;
    try {
      const response = await fetch(input, init);
      if (response.status >= 500 || response.status === 429) this.#failed(String(response.status));
      return response;
    } catch (error) {
      this.#failed(error.cause?.code ?? error.name);
      throw error;
    }
  };

  #failed(why) {
    this.failedRequests += 1;
    this.statuses[why] = (this.statuses[why] ?? 0) + 1;
  }

  async operation(name, work) {
    const one = this.operations.get(name) ?? { failed: 0, times: [] };
    this.operations.set(name, one);
    const begun = performance.now();
    try {
      return await work();
    } catch (error) {
      one.failed += 1;
      if (this.errors.length < ERRORS_TOLD) {
        this.errors.push(`${new Date().toISOString()} ${name}: ${error.status ?? error.statusCode ?? error.code ?? error.name}: ${error.message}`.slice(0, 300));
      }
      return undefined;
    } finally {
      one.times.push(performance.now() - begun);
    }
  }

  report(seconds) {
    const all = [...this.operations.values()];
    const count = all.reduce((sum, { times }) => sum + times.length, 0);
    return {
      seconds: round(seconds), operations: count, failed: all.reduce((sum, { failed }) => sum + failed, 0),
      requests: this.requests, failedRequests: this.failedRequests, why: this.statuses, perSecond: round(this.requests / seconds),
      milliseconds: quantiles(all.flatMap(({ times }) => times)),
      byOperation: Object.fromEntries([...this.operations].map(([name, { failed, times }]) => [name, { count: times.length, failed, ...quantiles(times) }])),
      errors: this.errors,
    };
  }
}

const round = (value) => Math.round(value * 10) / 10;

function quantiles(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: round(sorted.at(-1) ?? 0) };
}

async function scenario(tally, user, good, turn) {
  const { client, id } = user, key = String(turn), path = `${id}/${turn}.bin`, content = randomBytes(10_000);
  const todos = () => client.from("todos");
  await tally.operation("insert", () => good(todos().insert({ title: key, key })));
  await tally.operation("select", async () => assert.equal((await good(todos().select().eq("key", key))).length, 1));
  await tally.operation("upsert", () => good(todos().upsert({ title: "again", key, done: true }, { onConflict: "owner,key" })));
  await tally.operation("rpc", () => good(client.rpc("open_todos")));
  await tally.operation("upload", () => good(client.storage.from("files").upload(path, content)));
  await tally.operation("download", async () => {
    assert.deepEqual(Buffer.from(await (await good(client.storage.from("files").download(path))).arrayBuffer()), content);
  });
  const signed = await tally.operation("sign", () => good(client.storage.from("files").createSignedUrl(path, 60)));
  if (signed) await tally.operation("signed URL", async () => assert.equal((await tally.fetch(signed.signedUrl)).status, 200));
  await tally.operation("function", () => good(client.functions.invoke("hello", { body: { name: key } })));
  await tally.operation("get user", () => good(client.auth.getUser()));
  await tally.operation("refresh", () => good(client.auth.refreshSession()));
  await tally.operation("delete", () => good(todos().delete().eq("key", key)));
  await tally.operation("remove", () => good(client.storage.from("files").remove([path])));
}

/** For so many seconds or until SIGTERM, by so many users at once; each begins anew with a new user every 20 turns. */
export async function loop(seconds, parallel, newUser, good) {
  const tally = new Tally(), begun = performance.now();
  let told = false;
  process.once("SIGTERM", () => told = true);
  const over = () => told || performance.now() - begun > seconds * 1000;
  const one = async () => {
    for (let turn = 0, user; !over(); turn += 1) {
      if (turn % 20 === 0) user = (await tally.operation("sign up", () => newUser(tally.fetch))) ?? user;
      if (user === undefined) {
        await sleep(200);
        turn -= 1;
        continue;
      }
      await scenario(tally, user, good, turn);
    }
  };
  await Promise.all(Array.from({ length: parallel }, one));
  return tally.report((performance.now() - begun) / 1000);
}
