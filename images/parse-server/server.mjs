// Parse Server as one pod of several: `node server.mjs CONFIG.json`. The file holds no secret, only where secrets are mounted.
//
// Around Parse Server's own start this one waits for a database that takes writes instead of ending, tells the truth at /ready, answers
// 503 at once while the database is away, and finishes what is in flight when it is told to go. What is read from the file: `config.example.json`.
import { existsSync, readFileSync } from "node:fs";
import http from "node:http";
import S3Adapter from "@parse/s3-files-adapter";
import express from "express";
import parseServer from "parse-server";
import { Caches } from "./caches.mjs";
import { Database, connectionOptions, reconnect, storageAdapter } from "./database.mjs";
import { gauge, lost, measured, register, rejections } from "./metrics.mjs";

const ALIVE = 65 * 60_000;  // an idle connection is kept longer than a gateway keeps it (Envoy: 1 h), so that it is never cut under a request
const RESTART = 1012;  // WebSocket's close code for "service restart" (IANA registry): clients connect anew
const config = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { mountPath = "/parse", port = 1337, adminPort = 1338, host = "0.0.0.0", drainSeconds = 20 } = config;
const secret = (path) => readFileSync(path, "utf8").trim();
const log = (level, message, more = {}) => console.log(JSON.stringify({ time: new Date().toISOString(), level, message, ...more }));
const inFlight = new Set();
let started = false, draining = false, liveQuery;

// A promise that nobody waits for, in cloud code too, must not end the server for everybody.
process.on("unhandledRejection", (error) => {
  rejections.inc();
  log("error", "a promise failed and nobody heard it", { error: String(error?.stack ?? error) });
});

const sockets = () => [...(liveQuery?.clients.values() ?? [])].map((client) => client.parseWebSocket.ws);
const toldToReconnect = () => {
  lost.inc();
  for (const socket of sockets()) socket.close(RESTART, "messages may be missing");
};

const quiet = new Map();
const caches = new Caches({
  hosts: config.cache?.hosts ?? [], password: config.cache?.passwordFile && secret(config.cache.passwordFile), onLost: toldToReconnect,
  log: (name, error) => {
    if (Date.now() - (quiet.get(name) ?? 0) < 30_000) return;  // a cache that is away says so again and again
    quiet.set(name, Date.now());
    log("warn", `cache ${name}: ${error.message || error.code}`);
  },
});
const connection = connectionOptions(config.database);
const database = new Database(connection, { onMoved: () => reconnect(adapter), log: (message) => log("warn", message) });
const adapter = storageAdapter(connection, { poolSize: 10, queryTimeoutMs: 5000, ...config.database }, caches, database);

const admin = http.createServer(async (request, response) => {
  const answer = (status, text) => response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
  if (request.url === "/live") return answer(200, "alive\n");
  if (request.url === "/metrics") return answer(200, await register.metrics());
  if (request.url !== "/ready") return answer(404, "no such page\n");
  const why = draining ? "going away" : !database.writable ? database.why : !started ? "starting" : "";
  return answer(why ? 503 : 200, `${why || "ready"}\n`);
}).listen(adminPort, host);
gauge("parse_requests_in_flight", "Requests that are being answered", () => inFlight.size);
gauge("parse_livequery_clients", "Connected clients of LiveQuery", () => sockets().length);
gauge("parse_caches_up", "Caches that are used", () => caches.up.length);
gauge("parse_caches_known", "Caches that there are", () => caches.known);
gauge("parse_database_writable", "1 while the database takes writes", () => Number(database.writable));

const noFiles = () => Promise.reject(new parseServer.ParseServer.Parse.Error(130, "No files are kept here: no S3 bucket was given."));
function filesAdapter({ bucket, region, endpoint, pathStyle = true, accessKeyFile, secretKeyFile } = {}) {
  if (!bucket) return { createFile: noFiles, deleteFile: noFiles, getFileData: noFiles, getFileLocation: (_, name) => name };
  // Read again after a minute: credentials that were replaced need no restart.
  const credentials = async () => ({
    accessKeyId: secret(accessKeyFile), secretAccessKey: secret(secretKeyFile), expiration: new Date(Date.now() + 60_000),
  });
  const s3overrides = {
    endpoint, forcePathStyle: pathStyle, credentials, maxAttempts: 3,
    requestHandler: { connectionTimeout: 2000, requestTimeout: 20_000 },
  };
  return new S3Adapter({ bucket, region, fileAcl: "none", s3overrides });
}

const keys = Object.fromEntries(Object.entries(config.keys).map(([name, path]) => [name, secret(path)]));
const options = {
  logsFolder: null, jsonLogs: true, directAccess: true, ...config.options, ...keys, mountPath, port,
  serverURL: `http://127.0.0.1:${port}${mountPath}`, databaseAdapter: adapter, filesAdapter: filesAdapter(config.s3), cacheAdapter: caches,
  liveQuery: { ...config.options.liveQuery, pubSubAdapter: caches },
  cloud: config.cloud && existsSync(config.cloud) ? config.cloud : undefined,
};

const app = express();
app.set("trust proxy", config.options.trustProxy ?? false);
app.use(measured(mountPath, inFlight));
app.use((request, response, next) => {
  if (draining) response.set("Connection", "close");
  if (database.answers || request.path === `${mountPath}/health`) {
    // Functions of the user's set headers, also of what was done, and nobody between here and the router looks at them.
    const { writeHead } = response;
    response.writeHead = (...said) => {
      response.removeHeader("baas-undone");
      return writeHead.apply(response, said);
    };
    return next();
  }
  // By `baas-undone` the gateway knows that this may wait a moment and be asked again.
  return response.set({ "Retry-After": "1", "baas-undone": "1" }).status(503).json({ code: 1, error: "The database does not answer at the moment. Try again." });
});
const server = http.createServer(app);
Object.assign(server, { keepAliveTimeout: ALIVE, headersTimeout: 60_000 });

async function leave(signal) {
  if (draining) return;
  draining = true;
  log("info", `${signal}: finishing ${inFlight.size} requests`);
  const force = setTimeout(() => {
    log("error", `${inFlight.size} requests did not end in ${drainSeconds} s`);
    process.exit(1);
  }, drainSeconds * 1000);
  for (const response of inFlight) if (!response.headersSent) response.set("Connection", "close");
  for (const socket of sockets()) socket.close(RESTART, "going away");
  setTimeout(() => sockets().forEach((socket) => socket.terminate()), 1000);
  await new Promise((resolve) => (server.listening ? server.close(resolve) : resolve()));
  clearTimeout(force);
  caches.stop();
  database.stop();
  admin.close();
  log("info", "gone");
  process.exit(0);
}
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => leave(signal));

database.start();
await caches.start();
for (let tries = 0; !started && !draining; tries += 1) {
  await database.untilWritable();
  try {
    const api = new parseServer.ParseServer({ ...options });
    await database.alone(() => api.start());
    if (api.config.state !== "ok") throw new Error(`Parse Server is ${api.config.state}`);
    app.use(mountPath, api.app);
    liveQuery = await parseServer.ParseServer.createLiveQueryServer(server, { ...options.liveQuery, ...config.liveQueryServer }, options);
    await new Promise((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
    started = true;
    log("info", "ready", { port, mountPath });
  } catch (error) {
    log("error", "could not start, trying again", { error: String(error?.message ?? error) });
    await new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** tries, 5000) * (0.5 + Math.random())));
  }
}
