// What an application does with all of a backend, through supabase-js as it comes. `node backend.mjs NAME` plays one story and ends with 1,
// and a sentence, where it is not as it should be; without a name it tells those that there are. `node backend.mjs --loop SECONDS
// [PARALLEL]` does it all over and over until then, or until SIGTERM, and prints one line of JSON: how often, how much of it failed, and how
// long it took; `--prepare` makes the buckets of all that.
// URL, ANON and SERVICE (the API keys) come from the environment, and REUSE_SECONDS where GoTrue's reuse interval is not the operator's;
// the database has backend.sql, the functions are in functions/.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@supabase/supabase-js";
import ws from "ws";
import { loop } from "./loop.mjs";

const { URL: url, ANON, SERVICE, REUSE_SECONDS = "10" } = process.env;
const REFUSED_BY_POLICY = "42501";  // PostgreSQL's insufficient_privilege
const PASSWORD = "correct horse battery staple";

export const client = (key, fetch) => createClient(url, key, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: ws },  // Node 20 has no WebSocket of its own
  ...(fetch ? { global: { fetch } } : {}),
});

export async function good(query) {
  const { data, error } = await query;
  if (error) throw error;
  return data;
}

async function refused(query, wanted) {
  const { data, error } = await query;
  assert.ok(error, `it was taken, and gave ${JSON.stringify(data)}`);
  const said = [error.code, error.statusCode, error.status, error.context?.status].map(String);
  assert.ok(said.includes(String(wanted)), `${wanted} was expected, not ${said}: ${error.message}`);
}

export async function newUser(fetch, name = "Somebody") {
  const made = client(ANON, fetch);
  const email = `${randomUUID()}@example.com`;
  const { user, session } = await good(made.auth.signUp({ email, password: PASSWORD, options: { data: { name } } }));
  assert.ok(session, "signing up gave no session");
  return { client: made, id: user.id, email, session };
}

export async function makeBuckets() {
  const service = client(SERVICE);
  for (const [name, isPublic] of [["files", false], ["pages", true]]) {
    const { error } = await service.storage.createBucket(name, { public: isPublic, fileSizeLimit: "5MB" });
    if (error && error.statusCode !== "409") throw error;
  }
}

const stories = {
  async "a user signs up, in and out"() {
    const { client: user, email, id } = await newUser(undefined, "Ada");
    assert.deepEqual(await good(user.from("profiles").select("id, name")), [{ id, name: "Ada" }]);
    await refused(client(ANON).auth.signUp({ email, password: PASSWORD }), "user_already_exists");
    await refused(client(ANON).auth.signUp({ email: `${randomUUID()}@example.com`, password: "short" }), "weak_password");

    await good(user.auth.updateUser({ data: { name: "Ada L." } }));
    await good(user.auth.updateUser({ password: `${PASSWORD}!` }));
    assert.equal((await good(user.auth.getUser())).user.user_metadata.name, "Ada L.");
    const { access_token: token } = (await good(user.auth.getSession())).session;
    assert.equal((await user.auth.signOut()).error, null);
    await refused(client(ANON).auth.getUser(token), 400);  // AuthSessionMissingError: the session is over, whatever the token says

    const again = client(ANON);
    await refused(again.auth.signInWithPassword({ email, password: PASSWORD }), "invalid_credentials");
    await refused(again.auth.signInWithPassword({ email: "nobody@example.com", password: PASSWORD }), "invalid_credentials");
    const { user: same } = await good(again.auth.signInWithPassword({ email, password: `${PASSWORD}!` }));
    assert.equal(same.id, id);
    const { claims } = await good(again.auth.getClaims());  // checked by the client itself, with the published keys
    assert.deepEqual([claims.sub, claims.role, claims.email], [id, "authenticated", email]);
  },

  async "a session is refreshed, and a stolen one ends"() {
    const { client: user, session } = await newUser();
    const { session: second } = await good(user.auth.refreshSession());
    assert.notEqual(second.refresh_token, session.refresh_token);
    // The answer to a refresh may be lost: the token before counts once more, until its successor was used.
    const other = client(ANON);
    const { session: same } = await good(other.auth.refreshSession({ refresh_token: session.refresh_token }));
    assert.equal(same.refresh_token, second.refresh_token);
    assert.equal((await good(user.auth.getUser())).user.id, session.user.id);
    await good(user.auth.refreshSession());
    await sleep(1000 * (Number(REUSE_SECONDS) + 1));
    await refused(client(ANON).auth.refreshSession({ refresh_token: session.refresh_token }), "refresh_token_already_used");
    await refused(user.auth.refreshSession(), "refresh_token_already_used");
    await refused(client(ANON).auth.refreshSession({ refresh_token: "nonsense" }), "refresh_token_not_found");
  },

  async "rows are each user's own"() {
    const [ada, bob] = [await newUser(), await newUser()];
    const todos = ada.client.from("todos");
    const made = await good(todos.insert({ title: "read", key: "a" }).select().single());
    assert.equal(made.owner, ada.id);
    const upserted = await good(ada.client.from("todos").upsert({ title: "write", key: "a" }, { onConflict: "owner,key" }).select().single());
    assert.deepEqual([upserted.id, upserted.title], [made.id, "write"]);
    assert.equal(await good(ada.client.rpc("open_todos")), 1);
    assert.equal(await good(ada.client.rpc("email_of", { wanted: ada.id })), ada.email);

    assert.deepEqual(await good(bob.client.from("todos").select()), []);
    assert.equal(await good(bob.client.rpc("email_of", { wanted: ada.id })), null);
    await refused(bob.client.from("todos").insert({ title: "planted", owner: ada.id }), REFUSED_BY_POLICY);
    await refused(client(ANON).from("todos").insert({ title: "by nobody", owner: ada.id }), REFUSED_BY_POLICY);
    assert.equal((await good(client(SERVICE).from("todos").select().eq("owner", ada.id))).length, 1);
  },

  async "files are each user's own"() {
    await makeBuckets();
    const [ada, bob] = [await newUser(), await newUser()];
    const [hers, his] = [ada.client.storage.from("files"), bob.client.storage.from("files")];
    const content = randomBytes(300_000), path = `${ada.id}/notes/a file, ünïcode.bin`;
    const { fullPath } = await good(hers.upload(path, content, { contentType: "application/x-notes" }));
    assert.equal(fullPath, `files/${path}`);
    const got = await good(hers.download(path));
    assert.equal(got.type, "application/x-notes");
    assert.deepEqual(Buffer.from(await got.arrayBuffer()), content);

    await refused(his.download(path), 400);
    await refused(his.upload(`${ada.id}/planted`, content), 403);
    await refused(his.createSignedUrl(path, 60), 404);
    await refused(client(ANON).storage.from("files").download(path), 400);
    assert.deepEqual(await good(his.list(ada.id)), []);
    assert.deepEqual(await good(his.remove([path])), []);
    await refused(hers.upload(path, content), 409);
    await refused(hers.upload(`${ada.id}/large`, randomBytes(5_000_001)), 413);
    await refused(ada.client.storage.createBucket("mine"), 403);

    await good(hers.upload(path, "changed", { upsert: true }));
    assert.equal(await (await good(hers.download(path))).text(), "changed");
    await good(hers.upload(`${ada.id}/b.txt`, new Blob(["b"], { type: "text/plain" })));
    await good(hers.copy(`${ada.id}/b.txt`, `${ada.id}/c.txt`));
    await good(hers.move(`${ada.id}/c.txt`, `${ada.id}/d.txt`));
    assert.deepEqual((await good(hers.list(ada.id))).map(({ name, id }) => [name, id === null]), [["notes", true], ["b.txt", false], ["d.txt", false]]);
    const info = await good(hers.info(`${ada.id}/d.txt`));
    assert.deepEqual([info.size, info.contentType], [1, "text/plain"]);
    assert.equal((await good(hers.remove([path, `${ada.id}/b.txt`]))).length, 2);
    await refused(hers.download(path), 400);
    assert.deepEqual((await good(hers.list(ada.id))).map(({ name }) => name), ["d.txt"]);
  },

  async "a signed URL opens one file, for a while"() {
    await makeBuckets();
    const ada = await newUser();
    const files = ada.client.storage.from("files"), path = `${ada.id}/letter.txt`;
    await good(files.upload(path, "dear Bob", { contentType: "text/plain" }));
    await good(files.upload(`${ada.id}/other.txt`, "secret"));
    const { signedUrl } = await good(files.createSignedUrl(path, 60));
    const plain = await fetch(signedUrl);
    assert.deepEqual([plain.status, await plain.text()], [200, "dear Bob"]);
    const part = await fetch(signedUrl, { headers: { range: "bytes=5-7" } });
    assert.deepEqual([part.status, await part.text(), part.headers.get("content-range")], [206, "Bob", "bytes 5-7/8"]);
    assert.ok((await fetch(signedUrl.replace("letter", "other"))).status >= 400, "it opened another file");
    assert.ok((await fetch(`${signedUrl}x`)).status >= 400, "a changed signature was taken");
    const [first, missing] = await good(files.createSignedUrls([path, `${ada.id}/none`], 60));
    assert.equal((await fetch(first.signedUrl)).status, 200);
    assert.ok(missing.error);

    const brief = await good(files.createSignedUrl(path, 1));
    await sleep(2100);
    assert.ok((await fetch(brief.signedUrl)).status >= 400, "it was open for longer than it should");

    const upload = await good(files.createSignedUploadUrl(`${ada.id}/by-bob.txt`));
    await good(client(ANON).storage.from("files").uploadToSignedUrl(upload.path, upload.token, "from Bob"));
    assert.equal(await (await good(files.download(`${ada.id}/by-bob.txt`))).text(), "from Bob");
  },

  async "a public bucket is for all to read"() {
    await makeBuckets();
    const ada = await newUser();
    const pages = ada.client.storage.from("pages"), path = `${ada.id}/index.html`;
    await good(pages.upload(path, "<h1>hello</h1>", { contentType: "text/html", cacheControl: "60" }));
    const { data: { publicUrl } } = pages.getPublicUrl(path);
    const got = await fetch(publicUrl);
    assert.deepEqual([got.status, got.headers.get("cache-control"), await got.text()], [200, "max-age=60", "<h1>hello</h1>"]);
    assert.ok((await fetch(publicUrl.replace("/pages/", "/files/"))).status >= 400);
    await refused(client(ANON).storage.from("pages").upload(`${ada.id}/defaced.html`, "no"), 403);
  },

  async "a function is called, as who one is"() {
    const ada = await newUser();
    assert.deepEqual(await good(ada.client.functions.invoke("hello", { body: { name: "Ada" } })),
      { message: "Hello Ada!", user: ada.id, role: "authenticated", url: true });
    assert.equal((await good(client(ANON).functions.invoke("hello", { body: { name: "x" } }))).role, "anon");
    const headers = { apikey: ANON, authorization: "Bearer ey.not.ours" };
    await refused(ada.client.functions.invoke("hello", { body: {}, headers }), 401);
    await refused(ada.client.functions.invoke("nowhere", { body: {} }), 404);
    assert.equal(await (await fetch(`${url}/functions/v1/ping`, { headers: { apikey: ANON } })).text(), "pong");
  },

  async "the service key manages users"() {
    const { admin } = client(SERVICE).auth, email = `${randomUUID()}@example.com`;
    const { user } = await good(admin.createUser({ email, password: PASSWORD, email_confirm: true, app_metadata: { team: "red" } }));
    const asUser = client(ANON);
    await good(asUser.auth.signInWithPassword({ email, password: PASSWORD }));
    assert.equal((await good(asUser.auth.getClaims())).claims.app_metadata.team, "red");
    assert.ok((await good(admin.listUsers({ perPage: 1000 }))).users.some(({ id }) => id === user.id));
    await good(admin.updateUserById(user.id, { user_metadata: { name: "Eve" } }));
    assert.equal((await good(admin.getUserById(user.id))).user.user_metadata.name, "Eve");
    await good(admin.deleteUser(user.id));
    await refused(asUser.auth.getUser(), "user_not_found");
    await refused(asUser.auth.refreshSession(), "refresh_token_not_found");
    await assert.rejects(async () => good(client(ANON).auth.admin.listUsers()));
  },
};

const [name, ...more] = process.argv.slice(2);
if (name === undefined) {
  console.log(Object.keys(stories).join("\n"));
} else if (name === "--prepare") {
  await makeBuckets();
} else if (name === "--loop") {
  await makeBuckets();
  console.log(JSON.stringify(await loop(Number(more[0]), Number(more[1] ?? 1), newUser, good)));
} else {
  assert.ok(stories[name], `there is no story ${name}`);
  await stories[name]();
}
