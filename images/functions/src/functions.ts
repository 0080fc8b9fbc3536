// Functions by name, and the workers that they run in. A worker that hangs, or dies, takes nothing with it but its own calls.
import { Metrics } from "./metrics.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const START_MS = 10_000;
const HANGS_MS = 1000;
const READ_MS = 60_000;  // so long the last answer of a worker that was replaced may still be read

export interface Found {
  name: string;
  /** Its file, and when that changed. */
  version: string;
  verify: boolean;
  seconds: number;
}

interface Call {
  resolve: (response: Response) => void;
  timer: ReturnType<typeof setTimeout>;
}

const failed = (status: number, code: string, message: string) =>
  Response.json({ code, message }, { status, headers: { "sb-error-code": code } });

const NO_START = failed(503, "BOOT_ERROR", "Function failed to start (please check logs)");

export class Functions {
  verify = true;
  running = 0;
  #workers = new Map<string, Runner>();
  #config: Record<string, { verify_jwt?: boolean; timeout_seconds?: number }> = {};
  #configVersion = "";

  constructor(private folder: string, private seconds: number, private metrics: Metrics) {}

  async problem(): Promise<string | null> {
    try {
      for await (const _ of Deno.readDir(this.folder)) break;
      return null;
    } catch (error) {
      return `${this.folder}: ${error instanceof Error ? error.name : error}`;
    }
  }

  async find(name: string): Promise<Found | null> {
    if (!NAME.test(name)) return null;
    await this.#readConfig();
    for (const file of [`${this.folder}/${name}.ts`, `${this.folder}/${name}/index.ts`]) {
      try {
        // A ConfigMap changes as a whole: its files are links into a folder that has another name then.
        const [path, stat] = [await Deno.realPath(file), await Deno.stat(file)];
        const own = this.#config[name] ?? {};
        return {
          name,
          version: `${path}?${stat.mtime?.getTime()}-${stat.size}`,
          verify: own.verify_jwt ?? this.verify,
          seconds: own.timeout_seconds ?? this.seconds,
        };
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) throw error;
      }
    }
    return null;
  }

  async call(found: Found, request: Request, remote: Deno.Addr): Promise<Response> {
    let runner = this.#workers.get(found.name);
    if (runner === undefined || runner.dead || runner.version !== found.version) {
      runner?.retire();  // what it does it finishes
      runner = new Runner(found, this.metrics);
      this.#workers.set(found.name, runner);
    }
    this.running += 1;
    try {
      return await runner.call(request, remote, found.seconds);
    } finally {
      this.running -= 1;
    }
  }

  async #readConfig() {
    const file = `${this.folder}/config.json`;
    let version = "none";
    try {
      const stat = await Deno.stat(file);
      version = `${await Deno.realPath(file)} ${stat.mtime?.getTime()} ${stat.size}`;
      if (version !== this.#configVersion) this.#config = JSON.parse(await Deno.readTextFile(file));
    } catch (error) {
      // Without one nothing is exempt; one that can not be read exempts nothing either.
      this.#config = {};
      if (version !== this.#configVersion && !(error instanceof Deno.errors.NotFound)) {
        console.error(JSON.stringify({ level: "error", message: `config.json: ${error}` }));
      }
    }
    this.#configVersion = version;
  }
}

class Runner {
  readonly version: string;
  dead = false;
  #name: string;
  #worker: Worker;
  #ready: Promise<string | null>;
  #started!: (problem: string | null) => void;
  #calls = new Map<number, Call>();
  #next = 0;
  #retired = false;
  #hangs: ReturnType<typeof setTimeout> | undefined;

  constructor(found: Found, private metrics: Metrics) {
    this.#name = found.name;
    this.version = found.version;
    this.#ready = new Promise((resolve) => this.#started = resolve);
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: found.name });
    this.#worker.onmessage = ({ data }) => this.#heard(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();  // it would end the whole process
      this.#end("error", failed(500, "WORKER_ERROR", "Function exited due to an error (please check logs)"));
      console.error(JSON.stringify({ level: "error", function: this.#name, message: event.message }));
    };
    // The version is part of the URL: a module that was loaded once is never read again.
    this.#worker.postMessage({ load: `file://${found.version}` });
    const late = setTimeout(() => this.#end("start", NO_START), START_MS);
    this.#ready.then(() => clearTimeout(late));
  }

  async call(request: Request, remote: Deno.Addr, seconds: number): Promise<Response> {
    const id = this.#next++;
    const answered = new Promise<Response>((resolve) => {
      const timer = setTimeout(() => this.#late(id, seconds), seconds * 1000);
      this.#calls.set(id, { resolve, timer });
    });
    const problem = await this.#ready;
    if (problem !== null || this.dead) {
      this.#done(id, NO_START.clone());
    } else {
      const { method, url, body } = request;
      const message = { id, method, url, headers: [...request.headers], body, remote: { ...remote } };
      request.signal.addEventListener("abort", () => {
        this.#worker.postMessage({ abort: id });
        this.#done(id, failed(499, "CLIENT_CLOSED", "The client went away"));
      });
      this.#worker.postMessage(message, body ? [body] : []);
    }
    return await answered;
  }

  retire() {
    this.#retired = true;
    this.#leave();
  }

  // An answer's body comes from the worker while it is read, also after its call is done.
  #leave() {
    if (this.#retired && this.#calls.size === 0) setTimeout(() => this.#end("replaced"), READ_MS);
  }

  // deno-lint-ignore no-explicit-any
  #heard(data: any) {
    if (typeof data !== "object" || data === null) return;  // a function may post what it likes
    if ("pong" in data) {
      clearTimeout(this.#hangs);
      this.#hangs = undefined;
      return;
    }
    if ("loaded" in data) {
      if (data.loaded !== null) {
        console.error(JSON.stringify({ level: "error", function: this.#name, message: data.loaded }));
        return this.#end("start", NO_START);
      }
      return this.#started(null);
    }
    const { id, status, headers, body } = data;
    let response = failed(500, "WORKER_ERROR", "Function gave no response that can be sent (please check logs)");
    try {
      response = new Response([101, 204, 205, 304].includes(status) ? null : body, { status, headers });
    } catch (error) {  // such as Response.error(), whose status is 0
      console.error(JSON.stringify({ level: "error", function: this.#name, message: String(error) }));
    }
    this.#done(id, response);
  }

  #late(id: number, seconds: number) {
    this.metrics.ended(this.#name, "timeout");
    this.#worker.postMessage({ abort: id });
    this.#done(id, failed(504, "TIMEOUT", `Function did not answer within ${seconds} s`));
    // Does it wait, or turn in a loop, and nobody else is ever served by it? One question at a time: of calls that are late together
    // each would have a timer, and whichever no answer clears would end a worker that is well.
    if (this.#hangs !== undefined) return;
    this.#hangs = setTimeout(() => this.#end("hangs", failed(503, "WORKER_ERROR", "Function hangs")), HANGS_MS);
    this.#worker.postMessage({ ping: true });
  }

  #done(id: number, response: Response) {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    clearTimeout(call.timer);
    this.#calls.delete(id);
    call.resolve(response);
    this.#leave();
  }

  #end(why: string, response?: Response) {
    if (this.dead) return;
    this.dead = true;
    this.metrics.ended(this.#name, why);
    this.#started("it ended");
    for (const id of [...this.#calls.keys()]) this.#done(id, response?.clone() ?? failed(503, "WORKER_ERROR", "Function ended"));
    this.#worker.terminate();
  }
}
