// Parse Dashboard behind the gateway: `node dashboard.mjs CONFIG.json`. The file holds no secret, only where secrets are mounted.
//
// Who has logged in is kept in the caches, so that any pod knows it; where there is none, or it goes, one logs in again.
import { readFileSync } from "node:fs";
import http from "node:http";
import express from "express";
import session from "express-session";
import ParseDashboard from "parse-dashboard";
import { Caches } from "./caches.mjs";

const REMEMBERED = 1000;  // sessions
const CACHE_SECONDS = 5;  // how long it waits for its caches before it goes without
const config = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { mountPath = "/dashboard", port = 4040, host = "0.0.0.0", serverURL, sessionSeconds = 3600 } = config;
const secret = (path) => readFileSync(path, "utf8").trim();
const log = (level, message) => console.log(JSON.stringify({ time: new Date().toISOString(), level, message }));
process.on("unhandledRejection", (error) => log("error", `a promise failed and nobody heard it: ${error?.stack ?? error}`));

const caches = new Caches({
  hosts: config.cache?.hosts ?? [], password: config.cache?.passwordFile && secret(config.cache.passwordFile), ttl: sessionSeconds * 1000,
});

// While no cache is up a pod remembers by itself: alone it is then as good as ever.
class Sessions extends session.Store {
  #own = new Map();
  #answer(promise, done) { promise.then((value) => done?.(null, value), (error) => done?.(error)); }
  get(id, done) { this.#answer(caches.up.length ? caches.get(`dashboard:${id}`) : Promise.resolve(this.#own.get(id) ?? null), done); }
  set(id, value, done) {
    this.#own.delete(id);
    this.#own.set(id, JSON.parse(JSON.stringify(value)));
    if (this.#own.size > REMEMBERED) this.#own.delete(this.#own.keys().next().value);
    this.#answer(caches.put(`dashboard:${id}`, value), done);
  }
  touch(id, value, done) { this.set(id, value, done); }
  destroy(id, done) {
    this.#own.delete(id);
    this.#answer(caches.del(`dashboard:${id}`), done);
  }
}

const keys = Object.fromEntries(Object.entries(config.keys).map(([name, path]) => [name, secret(path)]));
const app = express();
app.set("trust proxy", config.trustProxy ?? false);
app.disable("x-powered-by");
app.get("/live", (_, response) => response.type("text").send("alive\n"));
app.use(mountPath, (request, response, next) => {
  // The browser reaches the server where it reached this page, whatever name that has.
  const json = response.json.bind(response);
  response.json = (body) => json(body?.apps && !config.publicURL
    ? { ...body, apps: body.apps.map((each) => ({ ...each, serverURL: `${request.protocol}://${request.get("host")}${serverURL}` })) }
    : body);
  next();
});
app.use(mountPath, ParseDashboard(
  {
    apps: [{ appName: config.appName, appId: config.appId, serverURL: config.publicURL ?? serverURL, ...keys }],
    users: [{ user: secret(config.userFile), pass: secret(config.passwordFile) }],
  },
  // TLS ends at the gateway, or is not wanted there.
  { allowInsecureHTTP: true, cookieSessionSecret: secret(config.cookieSecretFile), cookieSessionMaxAge: sessionSeconds * 1000, cookieSessionStore: new Sessions() },
));

await caches.start();
for (const until = Date.now() + CACHE_SECONDS * 1000; caches.up.length === 0 && Date.now() < until;) {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
const server = http.createServer(app).listen(port, host, () => log("info", `ready at ${mountPath}`));
Object.assign(server, { keepAliveTimeout: 65 * 60_000, headersTimeout: 60_000 });
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    setTimeout(() => process.exit(0), 5000);
    server.close(() => process.exit(0));
  });
}
