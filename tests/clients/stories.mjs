// What an application does with supabase-js. `node stories.mjs NAME` plays one story and ends with 1, and a sentence, where it is
// not as it should be; without a name it tells those that there are. URL, ANON, SERVICE, ALICE and BOB (tokens of users) and ALICE_ID come from the environment.
import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";
import ws from "ws";

const { URL: url, ANON, SERVICE, ALICE, BOB, ALICE_ID } = process.env;
const REFUSED_BY_POLICY = "42501";  // PostgreSQL's insufficient_privilege

const client = (key, token) => createClient(url, key, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: ws },  // Node 20 has no WebSocket of its own
  ...(token ? { accessToken: async () => token } : {}),
});
let anon, service, alice, bob;

async function good(query) {
  const { data, error, count } = await query;
  assert.equal(error, null, `refused: ${JSON.stringify(error)}`);
  return count === null ? data : { data, count };
}

async function refused(query, code) {
  const { data, error, status } = await query;
  assert.ok(error, `it was taken, and gave ${JSON.stringify(data)}`);
  assert.equal(error.code, code, JSON.stringify(error));
  return status;
}

const titles = (rows) => rows.map((row) => row.title);

const stories = {
  async "anonymous is kept out"() {
    await good(alice.from("notes").insert({ title: "private", stars: 1 }));
    await good(alice.from("notes").insert({ title: "for all", stars: 5, public: true }));

    assert.deepEqual(titles(await good(anon.from("notes").select())), ["for all"]);
    await refused(anon.from("notes").insert({ title: "by nobody", owner: ALICE_ID }), REFUSED_BY_POLICY);
    assert.deepEqual(await good(anon.from("notes").update({ title: "defaced" }).eq("title", "for all").select()), []);
    assert.deepEqual(await good(anon.from("notes").delete().eq("title", "for all").select()), []);
    assert.deepEqual(titles(await good(anon.from("notes").select())), ["for all"]);
  },

  async "users see their own rows only"() {
    await good(alice.from("notes").insert([{ title: "hers 1" }, { title: "hers 2" }]));
    await good(bob.from("notes").insert({ title: "his" }));

    assert.deepEqual(titles(await good(alice.from("notes").select().order("id"))), ["hers 1", "hers 2"]);
    assert.deepEqual(titles(await good(bob.from("notes").select())), ["his"]);
    assert.deepEqual(await good(bob.from("notes").update({ title: "stolen" }).eq("title", "hers 1").select()), []);
    await refused(bob.from("notes").insert({ title: "planted", owner: ALICE_ID }), REFUSED_BY_POLICY);
    assert.deepEqual(titles(await good(service.from("notes").select().order("id"))), ["hers 1", "hers 2", "his"]);
  },

  async "a claim of the token opens a row"() {
    await good(service.from("reports").insert([{ team: "red", text: "r" }, { team: "blue", text: "b" }]));

    assert.deepEqual(await good(alice.from("reports").select("text")), [{ text: "r" }]);
    assert.deepEqual(await good(bob.from("reports").select("text")), [{ text: "b" }]);
    assert.deepEqual(await good(anon.from("reports").select("text")), []);
  },

  async "rows are inserted, changed and deleted"() {
    const made = await good(alice.from("notes").insert({ title: "first", stars: 1 }).select().single());
    assert.equal(made.owner, ALICE_ID);

    const again = await good(alice.from("notes").upsert({ id: made.id, title: "second", stars: 2 }).select().single());
    assert.deepEqual([again.id, again.title, again.stars], [made.id, "second", 2]);

    const changed = await good(alice.from("notes").update({ stars: 3 }).eq("id", made.id).select("stars").single());
    assert.deepEqual(changed, { stars: 3 });

    await good(alice.from("notes").delete().eq("id", made.id));
    assert.deepEqual(await good(alice.from("notes").select()), []);
    await refused(alice.from("notes").insert({ title: null }), "23502");  // not null
    await refused(alice.from("nowhere").select(), "42P01");
  },

  async "filters, order, pages and counts"() {
    await good(alice.from("notes").insert([0, 1, 2, 3, 4, 5].map((stars) => ({ title: `Note ${stars}`, stars }))));
    const notes = () => alice.from("notes").select("title, stars");

    assert.deepEqual(titles(await good(notes().gt("stars", 3).order("stars", { ascending: false }))), ["Note 5", "Note 4"]);
    assert.deepEqual(titles(await good(notes().in("stars", [1, 3]).order("stars"))), ["Note 1", "Note 3"]);
    assert.deepEqual(titles(await good(notes().ilike("title", "note%").order("stars").range(1, 2))), ["Note 1", "Note 2"]);
    assert.deepEqual(titles(await good(notes().or("stars.eq.0,stars.eq.5").order("stars"))), ["Note 0", "Note 5"]);
    assert.deepEqual(await good(alice.from("notes").select("*", { count: "exact", head: true }).lt("stars", 2)), { data: null, count: 2 });
  },

  async "functions are called, as who one is"() {
    assert.equal(await good(anon.rpc("add", { a: 2, b: 3 })), 5);
    assert.equal(await good(alice.rpc("who_am_i")), ALICE_ID);
    assert.equal(await good(anon.rpc("who_am_i")), null);
  },

  async "service_role passes all policies"() {
    await good(service.from("notes").insert([{ title: "a", owner: ALICE_ID }, { title: "b", owner: ALICE_ID }]));
    assert.deepEqual(titles(await good(alice.from("notes").select().order("id"))), ["a", "b"]);

    await good(service.from("notes").delete().eq("owner", ALICE_ID));
    assert.deepEqual(await good(alice.from("notes").select()), []);
  },
};

const name = process.argv[2];
if (name === undefined) {
  console.log(Object.keys(stories).join("\n"));
} else {
  assert.ok(stories[name], `there is no story ${name}`);
  [anon, service, alice, bob] = [client(ANON), client(SERVICE), client(ANON, ALICE), client(ANON, BOB)];
  await stories[name]();
}
