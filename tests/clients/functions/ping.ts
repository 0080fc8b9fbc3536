// Called without a token (config.json).
export default { fetch: () => new Response("pong") };
