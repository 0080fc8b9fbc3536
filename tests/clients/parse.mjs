// What an application does with Parse's JavaScript SDK. `node parse.mjs NAME` plays one story and ends with 1, and a sentence, where it is
// not as it should be; without a name it tells those that there are. `node parse.mjs --loop SECONDS` does all of it again and again until
// then, or until SIGTERM, and prints one line of JSON: what failed, before and after the SDK's own retries, and how long it took.
//
// URL (`http://…/parse`), APP_ID, JAVASCRIPT_KEY and MASTER_KEY come from the environment; OTHER_URL may lead to another server of the same
// backend. CLOUD_CODE=yes: functions `double`, `whoAmI` and `count` are there; FILES=yes: files are kept.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import Parse from "parse/node";
import ws from "ws";

const { URL: url, OTHER_URL: other = url, APP_ID, JAVASCRIPT_KEY, MASTER_KEY, CLOUD_CODE, FILES } = process.env;
const NOT_FOUND = Parse.Error.OBJECT_NOT_FOUND, BAD_SESSION = Parse.Error.INVALID_SESSION_TOKEN;
const EVENT_MILLISECONDS = 5000;
globalThis.WebSocket ??= ws;  // Node 20 has no WebSocket of its own
const master = { useMasterKey: true };

const name = (what) => `${what}-${randomUUID().slice(0, 8)}`;
const as = (user) => ({ sessionToken: user.getSessionToken() });
const signUp = () => Parse.User.signUp(name("user"), "correct horse");
const ownedBy = (user) => new Parse.ACL(user);
const titles = (rows) => rows.map((row) => row.get("title"));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function refused(promise, code) {
  const error = await promise.then((value) => assert.fail(`it was taken, and gave ${JSON.stringify(value)}`), (reason) => reason);
  assert.equal(error.code, code, String(error));
}

async function at(server, does) {  // the SDK speaks to one server at a time
  Parse.serverURL = server;
  try {
    return await does();
  } finally {
    Parse.serverURL = url;
  }
}

function note(title, { acl, ...more } = {}) {
  const made = new Parse.Object("Note", { title, ...more });
  if (acl) made.setACL(acl);
  return made;
}

// What a subscription says, in order; `next(event)` waits for that event and gives its object.
async function listen(query, user) {
  const client = new Parse.LiveQueryClient({
    applicationId: APP_ID, serverURL: url.replace(/^http/, "ws"), javascriptKey: JAVASCRIPT_KEY, sessionToken: user?.getSessionToken(),
  });
  const heard = [], waiting = [];
  client.on("error", () => undefined);  // it connects anew by itself
  client.open();
  const subscription = client.subscribe(query, user?.getSessionToken());
  for (const event of ["open", "create", "update", "delete", "enter", "leave"]) {
    subscription.on(event, (object) => {
      heard.push({ event, object, at: Date.now() });
      for (const wake of waiting.splice(0)) wake();
    });
  }
  const next = async (event, seconds = EVENT_MILLISECONDS / 1000) => {
    const until = Date.now() + seconds * 1000;
    for (;;) {
      const index = heard.findIndex((each) => each.event === event);
      if (index >= 0) return heard.splice(index, 1)[0];
      assert.ok(Date.now() < until, `no event "${event}" within ${seconds} s; heard: ${heard.map((each) => each.event).join(", ") || "nothing"}`);
      await Promise.race([new Promise((resolve) => waiting.push(resolve)), pause(100)]);
    }
  };
  return { client, subscription, heard, next, close: () => client.close() };
}

const stories = {
  async "users sign up, log in, and log out everywhere"() {
    const username = name("user");
    const made = await Parse.User.signUp(username, "correct horse");
    await refused(Parse.User.signUp(username, "again"), Parse.Error.USERNAME_TAKEN);
    await refused(Parse.User.logIn(username, "wrong"), NOT_FOUND);

    const back = await at(other, () => Parse.User.logIn(username, "correct horse"));
    assert.equal(back.id, made.id);
    assert.notEqual(back.getSessionToken(), made.getSessionToken());

    const again = await Parse.User.me(back.getSessionToken());  // what `become` does, which the SDK leaves to browsers
    assert.equal(again.id, made.id);
    // Both servers know the session, and both forget it at once.
    assert.equal((await at(other, () => Parse.User.me(back.getSessionToken()))).id, made.id);
    await Parse.CoreManager.getRESTController().request("POST", "logout", {}, as(back));
    await refused(at(other, () => Parse.User.me(back.getSessionToken())), BAD_SESSION);
    await refused(Parse.User.me(back.getSessionToken()), BAD_SESSION);
  },

  async "users see what they may see"() {
    const [alice, bob] = [await signUp(), await signUp()];
    const hers = await note(name("hers"), { acl: ownedBy(alice) }).save(null, as(alice));
    const shared = ownedBy(alice);
    shared.setReadAccess(bob, true);
    const both = await note(name("both"), { acl: shared }).save(null, as(alice));
    const find = (options) => new Parse.Query("Note").containedIn("objectId", [hers.id, both.id]).ascending("createdAt").find(options);

    assert.deepEqual(titles(await find(as(alice))), titles([hers, both]));
    assert.deepEqual(titles(await find(as(bob))), titles([both]));
    assert.deepEqual(await find({}), []);
    await refused(new Parse.Query("Note").get(hers.id, as(bob)), NOT_FOUND);
    const foreign = Parse.Object.extend("Note").createWithoutData(both.id);
    await refused(foreign.save({ title: "stolen" }, as(bob)), NOT_FOUND);
    await refused(foreign.destroy(as(bob)), NOT_FOUND);
    assert.deepEqual(titles(await find(master)), titles([hers, both]));
  },

  async "objects are saved, changed, found and deleted"() {
    const user = await signUp();
    const batch = name("batch");
    await Parse.Object.saveAll([0, 1, 2, 3, 4].map((stars) => note(`${batch} ${stars}`, { batch, stars, tags: ["all", `t${stars}`] })), as(user));
    const query = () => new Parse.Query("Note").equalTo("batch", batch);

    assert.equal(await at(other, () => query().count()), 5);
    assert.deepEqual((await query().greaterThan("stars", 2).descending("stars").find()).map((each) => each.get("stars")), [4, 3]);
    assert.equal((await query().contains("title", " 3").first()).get("stars"), 3);
    assert.deepEqual(titles(await query().ascending("stars").skip(1).limit(2).find()), [`${batch} 1`, `${batch} 2`]);
    assert.equal(await query().containsAll("tags", ["t4"]).count(), 1);

    const one = await query().equalTo("stars", 1).first();
    one.increment("stars", 10);
    one.addUnique("tags", "new");
    await one.save(null, as(user));
    const seen = await at(other, () => new Parse.Query("Note").get(one.id));
    assert.deepEqual([seen.get("stars"), seen.get("tags").sort()], [11, ["all", "new", "t1"]]);  // PostgreSQL keeps no order here

    await one.destroy(as(user));
    await refused(at(other, () => new Parse.Query("Note").get(one.id)), NOT_FOUND);
    await refused(new Parse.Object("Nowhere").save({ a: 1 }), Parse.Error.OPERATION_FORBIDDEN);
  },

  async "keys are asked for"() {
    const ask = (headers) => fetch(`${url}/classes/Note?limit=1`, { headers });
    assert.equal((await ask({ "X-Parse-Application-Id": APP_ID })).status, 403);
    assert.equal((await ask({ "X-Parse-Application-Id": APP_ID, "X-Parse-JavaScript-Key": "wrong" })).status, 403);
    assert.equal((await ask({ "X-Parse-Application-Id": APP_ID, "X-Parse-Master-Key": "wrong" })).status, 403);
    assert.equal((await ask({ "X-Parse-Application-Id": APP_ID, "X-Parse-JavaScript-Key": JAVASCRIPT_KEY })).status, 200);
  },

  async "changes are told as they happen, to whom they concern"() {
    const [alice, bob] = [await signUp(), await signUp()];
    const batch = name("live");
    const hers = await listen(new Parse.Query("Note").equalTo("batch", batch).greaterThan("stars", 1), alice);
    const his = await listen(new Parse.Query("Note").equalTo("batch", batch), bob);
    try {
      await Promise.all([hers.next("open"), his.next("open")]);
      const made = await at(other, () => note("live", { batch, stars: 2, acl: ownedBy(alice) }).save(null, as(alice)));
      assert.equal((await hers.next("create")).object.id, made.id);
      await at(other, () => made.save({ stars: 3 }, as(alice)));
      assert.equal((await hers.next("update")).object.get("stars"), 3);
      await made.save({ stars: 0 }, as(alice));
      await hers.next("leave");
      await made.save({ stars: 5 }, as(alice));
      await hers.next("enter");
      await at(other, () => made.destroy(as(alice)));
      await hers.next("delete");
      const open = new Parse.ACL();
      open.setPublicReadAccess(true);
      await at(other, () => note("for all", { batch, stars: 0, acl: open }).save(null, as(alice)));
      assert.equal((await his.next("create")).object.get("title"), "for all");
      assert.deepEqual(his.heard.map((each) => each.event), [], "bob heard of what he may not read");
    } finally {
      hers.close();
      his.close();
    }
  },

  async "a request whose answer is lost is not done twice"() {
    const title = name("once");
    const real = globalThis.fetch;
    let lost = 0;
    Parse.CoreManager.set("IDEMPOTENCY", true);
    globalThis.fetch = async (...request) => {
      const answer = await real(...request);
      if (lost === 0) {
        lost += 1;
        return new Response("", { status: 502 });  // as a gateway says; when a connection breaks the SDK does not try again
      }
      return answer;
    };
    try {
      await note(title).save().catch((error) => assert.equal(error.code, Parse.Error.DUPLICATE_REQUEST, String(error)));
    } finally {
      globalThis.fetch = real;
      Parse.CoreManager.set("IDEMPOTENCY", false);
    }
    assert.equal(lost, 1);
    assert.equal(await new Parse.Query("Note").equalTo("title", title).count(), 1);
  },
};

if (CLOUD_CODE) {
  stories["functions are called, as who one is"] = async () => {
    const alice = await signUp();
    assert.equal(await Parse.Cloud.run("double", { number: 21 }), 42);
    assert.equal(await at(other, () => Parse.Cloud.run("whoAmI", {}, as(alice))), alice.id);
    assert.equal(await Parse.Cloud.run("whoAmI"), null);
    assert.ok((await Parse.Cloud.run("count")) >= 0);  // a query inside cloud code
    await refused(Parse.Cloud.run("nothing"), Parse.Error.SCRIPT_FAILED);
    await refused(note("forbidden").save(), Parse.Error.VALIDATION_ERROR);
  };
}

if (FILES) {
  stories["files are kept, and given back by any server"] = async () => {
    const alice = await signUp();
    const bytes = Array.from({ length: 100_000 }, (_, index) => index % 251);
    const file = await new Parse.File("picture.bin", bytes, "application/octet-stream").save(as(alice));
    const kept = await note(name("with a file"), { file, acl: ownedBy(alice) }).save(null, as(alice));
    const found = await at(other, () => new Parse.Query("Note").get(kept.id, as(alice)));
    const path = new URL(found.get("file").url()).pathname;
    for (const server of [url, other]) {
      const answer = await fetch(new URL(path, server));
      assert.equal(answer.status, 200);
      assert.deepEqual([...new Uint8Array(await answer.arrayBuffer())], bytes);
    }
    await refused(new Parse.File("anonymous.bin", [1]).save(), Parse.Error.FILE_SAVE_ERROR);
  };
}

async function schema() {
  const there = new Parse.Schema("Note");
  there.addString("title").addString("batch").addNumber("stars").addArray("tags").addFile("file");
  await there.save().catch((error) => assert.equal(error.code, Parse.Error.INVALID_CLASS_NAME, String(error)));  // it is there
}

const quantile = (sorted, share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] * 10) / 10;

async function loop(seconds) {
  const counted = { attempts: 0, attemptsFailed: 0, why: {}, requests: 0, failed: 0, errors: {}, events: 0, eventsMissed: 0, missedInSilence: 0, reopened: 0 };
  const took = [];
  const real = globalThis.fetch;
  const attemptFailed = (request, why) => {
    counted.attemptsFailed += 1;
    const key = `${request[1]?.method} ${new URL(request[0]).pathname.replace(/\/[A-Za-z0-9]{10}$/, "")}: ${why}`;
    counted.why[key] = (counted.why[key] ?? 0) + 1;
  };
  globalThis.fetch = async (...request) => {
    counted.attempts += 1;
    try {
      const answer = await real(...request);
      if (answer.status >= 500) attemptFailed(request, `${answer.status} ${(await answer.clone().text()).slice(0, 100)}`);
      return answer;
    } catch (error) {
      attemptFailed(request, error.cause?.code ?? error.name);
      throw error;
    }
  };
  const timed = async (what, does) => {
    const began = performance.now();
    counted.requests += 1;
    try {
      return await does();
    } catch (error) {
      counted.failed += 1;
      const key = `${what}: ${error.code ?? ""} ${error.message ?? error}`.slice(0, 200);
      counted.errors[key] = (counted.errors[key] ?? 0) + 1;
      return undefined;
    } finally {
      took.push(performance.now() - began);
    }
  };
  const begun = Date.now();
  let told = false;
  process.once("SIGTERM", () => told = true);
  const batch = name("loop");
  const live = await listen(new Parse.Query("Note").equalTo("batch", batch));
  await live.next("open", 15);
  while (!told && Date.now() - begun < seconds * 1000) {
    const user = await timed("signUp", signUp);
    if (!user) continue;
    const made = await timed("save", () => note("loop", { batch, stars: 1 }).save(null, as(user)));
    if (made) {
      await timed("query", () => at(other, () => new Parse.Query("Note").get(made.id, as(user))));
      await timed("update", () => made.save({ stars: 2 }, as(user)));
      const heard = await live.next("create").then(() => true, () => false);
      counted[heard ? "events" : "eventsMissed"] += 1;
      if (!heard) {
        // LiveQuery tells nobody what happened before: who is told that it was opened anew asks for what there is now.
        const told = await live.next("open", 10).then(() => true, () => false);
        counted[told ? "reopened" : "missedInSilence"] += 1;
      }
      await timed("delete", () => at(other, () => made.destroy(as(user))));
    }
    await timed("session", () => at(other, () => Parse.User.me(user.getSessionToken())));
    if (CLOUD_CODE) await timed("function", () => Parse.Cloud.run("double", { number: 4 }, as(user)));
    if (FILES) await timed("file", () => new Parse.File("loop.txt", [1, 2, 3], "text/plain").save(as(user)));
    counted.reopened += live.heard.filter((each) => each.event === "open").length;
    live.heard.splice(0);
  }
  live.close();
  took.sort((a, b) => a - b);
  const milliseconds = { p50: quantile(took, 0.5), p95: quantile(took, 0.95), p99: quantile(took, 0.99), max: quantile(took, 1) };
  console.log(JSON.stringify({ seconds: Math.round((Date.now() - begun) / 100) / 10, ...counted, sdkRetries: true, attemptsAtMost: Parse.CoreManager.get("REQUEST_ATTEMPT_LIMIT"), milliseconds }));
}

const [wanted, argument] = process.argv.slice(2);
if (wanted === undefined) {
  console.log(Object.keys(stories).join("\n"));
} else {
  Parse.initialize(APP_ID, JAVASCRIPT_KEY, MASTER_KEY);
  Parse.serverURL = url;
  await schema();
  if (wanted === "--loop") {
    await loop(Number(argument));
  } else {
    assert.ok(stories[wanted], `there is no story ${wanted}`);
    await stories[wanted]();
  }
  process.exit(0);  // the SDK may still be trying to reach LiveQuery
}
