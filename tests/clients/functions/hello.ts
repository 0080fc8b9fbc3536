// A function as Supabase's edge functions are written.
Deno.serve(async (request) => {
  const { name } = await request.json();
  const token = request.headers.get("authorization")?.split(" ")[1] ?? "";
  const { sub, role } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  return Response.json({ message: `Hello ${name}!`, user: sub ?? null, role, url: Deno.env.get("SUPABASE_URL") !== undefined });
});
