// One function in a thread of its own: loads it, and hands it requests. Deno.serve in here listens to nothing but these.
/// <reference lib="deno.worker" />

type Handler = (request: Request, info: Deno.ServeHandlerInfo) => Response | Promise<Response>;
let handler: Handler | null = null;
const running = new Map<number, AbortController>();

// deno-lint-ignore no-explicit-any
function serve(...given: any[]) {
  const found = given.find((each) => typeof each === "function") ?? given[0]?.handler;
  if (typeof found !== "function") throw new TypeError("Deno.serve: a handler is needed");
  handler = found;
  const addr = { transport: "tcp", hostname: "127.0.0.1", port: 0 };
  given.find((each) => each?.onListen)?.onListen(addr);
  return { addr, finished: new Promise(() => {}), shutdown: () => Promise.resolve(), ref() {}, unref() {}, [Symbol.asyncDispose]: () => Promise.resolve() };
}
Object.defineProperty(Deno, "serve", { value: serve });

async function load(url: string) {
  try {
    const module = await import(url);
    const exported = module.default;
    if (handler === null) handler = typeof exported === "function" ? exported : exported?.fetch?.bind(exported) ?? null;
    self.postMessage({ loaded: handler === null ? "it neither calls Deno.serve(handler) nor exports {fetch} by default" : null });
  } catch (error) {
    self.postMessage({ loaded: error instanceof Error ? error.stack ?? error.message : String(error) });
  }
}

// deno-lint-ignore no-explicit-any
async function call({ id, method, url, headers, body, remote }: any) {
  const controller = new AbortController();
  running.set(id, controller);
  let response: Response;
  try {
    const request = new Request(url, { method, headers, body, signal: controller.signal, ...(body ? { duplex: "half" } : {}) } as RequestInit);
    response = await handler!(request, { remoteAddr: remote, completed: Promise.resolve() });
    if (!(response instanceof Response)) throw new TypeError("the handler gave no Response");
  } catch (error) {
    console.error(error);
    response = Response.json({ code: "WORKER_ERROR", message: "Function failed (please check logs)" }, { status: 500 });
  } finally {
    running.delete(id);
  }
  const answer = { id, status: response.status, headers: [...response.headers], body: response.body };
  self.postMessage(answer, response.body ? [response.body] : []);
}

self.onmessage = ({ data }) => {
  if (data.load) load(data.load);
  else if (data.ping) self.postMessage({ pong: true });
  else if (data.abort !== undefined) running.get(data.abort)?.abort();
  else call(data);
};
