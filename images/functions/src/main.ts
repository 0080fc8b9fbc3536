// The functions of a backend: one process that listens, and a worker (a thread of its own) for each function that was called.
//
// A request to /NAME/… goes to the function NAME, which is NAME.ts or NAME/index.ts in FUNCTIONS_FOLDER, as Supabase's edge functions are
// written: it calls Deno.serve(handler), or exports {fetch} by default. Its caller shows a token that a key in JWKS_FILE signed, unless
// config.json beside the functions says otherwise: {"NAME": {"verify_jwt": false, "timeout_seconds": 10}}.
import { Functions } from "./functions.ts";
import { Metrics } from "./metrics.ts";
import { Keys } from "./tokens.ts";

const number = (name: string, otherwise: number) => Number(Deno.env.get(name) ?? otherwise);
const FOLDER = Deno.env.get("FUNCTIONS_FOLDER") ?? "/functions";
const VERIFY = Deno.env.get("FUNCTIONS_VERIFY_JWT") !== "false";
const HOST = Deno.env.get("FUNCTIONS_HOST") ?? "0.0.0.0";
const MOST_AT_ONCE = number("FUNCTIONS_MAX_REQUESTS", 200);
const DRAIN_SECONDS = number("FUNCTIONS_DRAIN_SECONDS", 20);

const metrics = new Metrics();
const keys = new Keys(Deno.env.get("JWKS_FILE") ?? "/etc/baas/keys/jwks.json");
const functions = new Functions(FOLDER, number("FUNCTIONS_TIMEOUT_SECONDS", 60), metrics);

const refused = (status: number, code: string, message: string, headers: Record<string, string> = {}) =>
  Response.json({ code, message }, { status, headers: { "sb-error-code": code, ...headers } });

async function answer(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
  const name = new URL(request.url).pathname.split("/")[1];
  const found = await functions.find(name);
  if (found === null) return refused(404, "NOT_FOUND", "Requested function was not found");
  // Browsers show no token when they ask whether they may ask.
  if (found.verify && request.method !== "OPTIONS") {
    const token = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
    if (!token) return refused(401, "UNAUTHORIZED_NO_AUTH_HEADER", "Missing authorization header");
    if (!(await keys.verify(token))) return refused(401, "UNAUTHORIZED_INVALID_JWT", "Invalid JWT");
  }
  if (functions.running >= MOST_AT_ONCE) return refused(503, "OVERLOADED", "Too many calls at once", { "retry-after": "1" });
  return await functions.call(found, request, info.remoteAddr);
}

async function served(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
  const begun = performance.now();
  const response = await answer(request, info).catch((error) => {
    console.error(JSON.stringify({ level: "error", message: String(error) }));
    return refused(500, "INTERNAL", "The dispatcher failed");
  });
  metrics.answered(new URL(request.url).pathname.split("/")[1], response.status, (performance.now() - begun) / 1000);
  return response;
}

async function health(request: Request): Promise<Response> {
  switch (new URL(request.url).pathname) {
    case "/live":
      return new Response("ok\n");
    case "/health": {
      const problem = (await functions.problem()) ?? (VERIFY ? await keys.problem() : null);
      return Response.json({ healthy: problem === null, problem }, { status: problem === null ? 200 : 503 });
    }
    case "/metrics":
      return new Response(metrics.text(functions.running), { headers: { "content-type": "text/plain; version=0.0.4" } });
  }
  return new Response("no such path\n", { status: 404 });
}

functions.verify = VERIFY;
const listening = ({ hostname, port }: Deno.NetAddr) => console.log(JSON.stringify({ level: "info", message: `listening on ${hostname}:${port}` }));
const server = Deno.serve({ hostname: HOST, port: number("FUNCTIONS_PORT", 9000), onListen: listening }, served);
const probes = Deno.serve({ hostname: HOST, port: number("FUNCTIONS_HEALTH_PORT", 9001), onListen: () => {} }, health);

async function drain() {
  // What is under way is finished; nothing new is let in.
  const late = setTimeout(() => Deno.exit(1), DRAIN_SECONDS * 1000);
  await server.shutdown();
  clearTimeout(late);
  await probes.shutdown();
  Deno.exit(0);
}
for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, drain);
