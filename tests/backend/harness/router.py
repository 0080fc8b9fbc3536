"""What stands in for the gateway here: it follows the routes that the engine asks for, and lets nobody in whom those do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict

from baas_operator.desired.instance.gateway.model import Route

_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length")


class Router:
    """`upstreams`: name -> base URLs, any of which may answer; `jwks`: the key set as it is now, parsed."""

    def __init__(
        self, routes: Sequence[Route], upstreams: Mapping[str, Sequence[str]], jwks: Callable[[], dict[str, Any]], port: int
    ) -> None:
        self._routes, self._upstreams, self._jwks, self.port = routes, upstreams, jwks, port
        self.out: set[str] = set()
        """Base URLs that are asked for nothing, as a pod is that is not ready, or ends."""
        self._turn = 0
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._session = ClientSession(
            connector=TCPConnector(force_close=True), auto_decompress=False, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(total=60)
        )
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        assert self._runner
        assert self._session
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.split("?")[0]
        route = next((each for each in self._routes if _fits(each.prefix, path)), None)
        if route is None:
            return web.json_response({"message": "no such route"}, status=404)
        if route.access != "public" and not self._allowed(request, service=route.access == "service-key"):
            return web.json_response({"message": "Jwt is missing or not valid"}, status=401)
        target = route.rewrite + request.raw_path[len(route.prefix) :]
        body = request.content if request.body_exists else None
        headers = CIMultiDict((key, value) for key, value in request.headers.items() if key.lower() not in (*_HOP, "apikey"))
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        bases = [each for each in self._upstreams[route.upstream] if each not in self.out]
        for _ in bases:
            self._turn += 1
            try:
                return await self._forward(request, bases[self._turn % len(bases)] + target, headers, body)
            except ConnectionRefusedError:
                continue  # it has not heard of it: another may
        return web.json_response({"message": "no healthy upstream"}, status=503, headers={"Retry-After": "1"})

    async def _forward(self, request: web.Request, url: str, headers: CIMultiDict[str], body: Any) -> web.StreamResponse:
        from yarl import URL

        assert self._session
        try:
            upstream = await self._session.request(
                request.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            )
        except OSError as error:
            if isinstance(error.__cause__, ConnectionRefusedError) or "Connect call failed" in str(error):
                raise ConnectionRefusedError from error
            return web.json_response({"message": f"upstream: {type(error).__name__}"}, status=502)
        except TimeoutError:
            return web.json_response({"message": "upstream is late"}, status=504)
        async with upstream:
            kept = CIMultiDict((key, value) for key, value in upstream.headers.items() if key.lower() not in _HOP)
            answer = web.StreamResponse(status=upstream.status, headers=kept)
            if (length := upstream.headers.get("Content-Length")) is not None:
                answer.content_length = int(length)
            await answer.prepare(request)
            async for chunk in upstream.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
            return answer

    def _allowed(self, request: web.Request, *, service: bool) -> bool:
        """The key has to be good; a token says who it is, where there is one (gateway/keys.py)."""
        key, token = request.headers.get("apikey", ""), request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._role(key) is not None and (not service or self._role(token or key) == "service_role")

    def _role(self, token: str) -> str | None:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next(each for each in self._jwks()["keys"] if each["kid"] == kid)
            return str(jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], options={"verify_aud": False})["role"])
        except (jwt.PyJWTError, StopIteration):
            return None


def _fits(prefix: str, path: str) -> bool:
    return path.startswith(prefix) if prefix.endswith("/") else path == prefix
