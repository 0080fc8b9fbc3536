// Tokens (RFC 7519) that a key of the set in a file signed. The file may change at any moment: keys are rotated.

type Key = JsonWebKey & { kid?: string };
const LOOK_MS = 1000;
const LEEWAY_SECONDS = 5;
const ALGORITHMS: Record<string, [EcKeyImportParams | RsaHashedImportParams | Algorithm, EcdsaParams | Algorithm]> = {
  ES256: [{ name: "ECDSA", namedCurve: "P-256" }, { name: "ECDSA", hash: "SHA-256" }],
  RS256: [{ name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, { name: "RSASSA-PKCS1-v1_5" }],
  EdDSA: [{ name: "Ed25519" }, { name: "Ed25519" }],
};

export class Keys {
  #looked = 0;
  #text = "";
  #keys = new Map<string, { key: CryptoKey; algorithm: string }>();
  #problem: string | null = "no key was read yet";

  constructor(private file: string) {}

  async problem(): Promise<string | null> {
    await this.#read();
    return this.#problem;
  }

  async verify(token: string): Promise<boolean> {
    try {
      const [head, body, signature, ...more] = token.split(".");
      if (more.length > 0) return false;
      const { kid, alg } = JSON.parse(new TextDecoder().decode(bytes(head)));
      await this.#read();
      const found = this.#keys.get(kid ?? "");
      // The algorithm is the key's, never what the token says.
      if (!found || found.algorithm !== alg) return false;
      const signed = new TextEncoder().encode(`${head}.${body}`);
      if (!(await crypto.subtle.verify(ALGORITHMS[alg][1], found.key, bytes(signature), signed))) return false;
      const { exp, nbf } = JSON.parse(new TextDecoder().decode(bytes(body)));
      const now = Date.now() / 1000;
      return typeof exp === "number" && exp > now - LEEWAY_SECONDS && !(nbf > now + LEEWAY_SECONDS);
    } catch {
      return false;
    }
  }

  async #read() {
    if (Date.now() < this.#looked + LOOK_MS) return;
    this.#looked = Date.now();
    try {
      const text = await Deno.readTextFile(this.file);
      if (text === this.#text) return;
      const keys = new Map();
      for (const jwk of JSON.parse(text).keys as Key[]) {
        const algorithm = jwk.alg ?? (jwk.kty === "EC" ? "ES256" : jwk.kty === "RSA" ? "RS256" : "EdDSA");
        if (!(algorithm in ALGORITHMS)) continue;
        const { key_ops: _, use: __, ...plain } = jwk;
        keys.set(jwk.kid ?? "", { key: await crypto.subtle.importKey("jwk", plain, ALGORITHMS[algorithm][0], false, ["verify"]), algorithm });
      }
      [this.#keys, this.#text, this.#problem] = [keys, text, keys.size ? null : `${this.file} has no key`];
    } catch (error) {
      // What was read before goes on to count: a file that is being replaced takes nobody down.
      if (this.#text === "") this.#problem = `${this.file}: ${error instanceof Error ? error.name : error}`;
    }
  }
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
}
