"""What PostgREST (12.0) says when its database went away, put in order before the router decides whether to try again.

- A connection that breaks with BEGIN or COMMIT comes out as `400` with an error of empty fields: libpq has none for its own errors, and
  PostgREST takes what has no SQLSTATE for the client's fault. Nobody asks again after a 400.
- One that breaks under the statement itself comes out as `503` PGRST001 "no connection to the server": what is told is that the ROLLBACK
  after it could not be sent. No COMMIT was.
- Its 503 name the database's host and address, and say `Retry-After: 0`, whether something was done or not.

So, per attempt: where nothing can have been done (no COMMIT was sent, no connection was to be had, no schema cache, the server ended the
session with an error instead of an answer), 503 with `Retry-After: 1`, and a header by which the router knows a write that may wait. Where
that is not known, the same for reads, which the router sends elsewhere, and 502 without `Retry-After` for writes, so that nobody repeats
what may be done. What a function of the user's raises (`PT503` and such, or a code of ours with other words) is not touched, nor any answer
of another status. That a session was ended is known to be undone because PostgREST tells of it only if it was so at BEGIN, or at COMMIT
before that was done: after it, hasql tells of the last error that libpq has, which is the connection's and has no SQLSTATE.

What a function of the user's answers with comes with a `Content-Range`, whatever status and body it has chosen (12.0, Response.hs: all
answers to what was done but a PUT's do, and a function may set another, not take it away). That was committed, and is not touched.

What waited for a connection until PostgREST gave up (PGRST003) has waited enough, and is told so. What waits in the gateway (`waiting.py`)
comes by here as well, since Envoy takes the filters of the cluster that a route names: it is known by its words.

Known limits: an error of more than KEPT_BYTES (it repeats a value of the client's) comes out as 500. An error that answers HEAD has no
body, so that only 503 and 504 are tried again there; where there is no `reads`, none, and it does not wait. A function that hands on what
ended a session of its own elsewhere (dblink), in the same words, can not be told apart.
"""

from __future__ import annotations

from baas_operator.desired.instance.gateway.model import UNDONE_HEADER
from baas_operator.desired.instance.gateway.typed import Config, extension

READS_KEY = "reads"
"""In a route's metadata, under the filter's name: what it asks for may be asked again."""
FILTER = "postgrest"
AGAIN = "The backend can not answer this at the moment. Try again."
WAITING = f'{{"code": 503, "message": "{AGAIN}"}}'
"""What the gateway says to itself of what it has sent to nobody."""
UNKNOWN = "The backend broke off. Whether this was done is not known: look before you try again."

_LUA = """
local looked_at = {["400"] = true, ["503"] = true, ["504"] = true}
local broken = '{"code":"","details":null,"hint":null,"message":""}'
local waiting = 'WAITING'
local unsent = '"details":"no connection to the server\\\\n"'
local begins = {  -- functions of the user's raise any code, ours too: where these are not the words, they are somebody else's
  PGRST000 = "Database connection error", PGRST001 = "Database client error",
  PGRST002 = "Could not query the database for the schema cache", PGRST003 = "Timed out acquiring connection",
  ["57P01"] = "terminating connection due to ",
}

local function outcome(status, text)
  if status == "400" then return text == broken and "unknown" or nil end
  if text == waiting then return "undone" end
  local code = string.match(text, '"code":"(%w*)"') or ""
  if string.match(code, "^08") then return "unknown" end
  if not begins[code] or not string.find(text, '"message":"' .. begins[code], 1, true) then return end
  if code == "PGRST001" and not string.find(text, unsent, 1, true) then return "unknown" end
  return "undone", code == "PGRST003"
end

function envoy_on_response(handle)
  handle:headers():remove("UNDONE_HEADER")  -- functions of the user's set headers, also of what was done
  local status = handle:headers():get(":status")
  if not looked_at[status] or handle:headers():get("content-range") then return end
  local body = handle:body()
  if not body then return end
  local found, waited = outcome(status, body:getBytes(0, math.min(body:length(), 8192)))
  if not found then return end
  local code, message = 503, "AGAIN"
  if found == "unknown" and not handle:metadata():get("READS") then code, message = 502, "UNKNOWN" end
  local headers = handle:headers()  -- once more: what was had before the body came is no longer valid
  headers:replace(":status", tostring(code))
  headers:remove("retry-after")
  if code == 503 then headers:add("retry-after", "1") end
  if found == "undone" and not waited then headers:add("UNDONE_HEADER", "1") end
  headers:replace("content-type", "application/json")
  body:setBytes(string.format('{"code":%d,"message":"%s"}', code, message))
end
"""


def upstream_filters() -> list[Config]:
    """The filters of a cluster of PostgREST. A Lua call costs an answer of another status some microseconds; no request is looked at."""
    source = _LUA
    for name, value in (
        ("WAITING", WAITING), ("AGAIN", AGAIN), ("UNKNOWN", UNKNOWN), ("READS", READS_KEY), ("UNDONE_HEADER", UNDONE_HEADER),
    ):  # fmt: skip
        source = source.replace(name, value)
    return [
        extension(FILTER, "envoy.extensions.filters.http.lua.v3.Lua", default_source_code={"inline_string": source}),
        extension("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"),
    ]
