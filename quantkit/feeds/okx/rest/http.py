"""HTTP for OKX's REST interface over the `httpx2` library: one GET request, its whole answer, and its stamps."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from quantkit.errors import ConfigError, FeedClosedError
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.errors import OkxServerError, damage, network_error, reply_error
from quantkit.feeds.okx.rest.calls import Answer, Signer

if TYPE_CHECKING:
    import httpx2

#: What sends requests below the library's client; tests put their own here.
Transport: TypeAlias = "httpx2.AsyncBaseTransport"

#: Longest body that is read: the longest list of instruments has a few megabytes.
_LONGEST_BODY: Final = 64 * 1024 * 1024


class HttpClient:
    """Sends requests to the configured host and nowhere else: no redirect is followed.

    Args:
        config: The host, the certificates to trust, and whether to use the environment's proxy.
        transport: An HTTP transport of httpx2 to use instead of the network's.
        now_ns: The machine's clock, UTC ns.
        timeout_s: For one request from connecting to the last byte.
    """

    def __init__(
        self,
        config: OkxConfig,
        *,
        transport: "Transport | None",
        now_ns: Callable[[], int],
        timeout_s: float,
    ) -> None:
        self._config = config
        self._transport = transport
        self._now_ns = now_ns
        self._timeout_s = timeout_s
        self._client: httpx2.AsyncClient | None = None

    def open(self) -> None:
        """Make ready to send.

        Raises:
            ConfigError: The environment's proxy or the `ca_file` cannot be used.
        """
        # Imported late: most programs never use REST.
        import httpx2

        headers = {"Accept": "application/json", "User-Agent": "quantkit"}
        if self._config.demo:
            headers["x-simulated-trading"] = "1"
        try:
            self._client = httpx2.AsyncClient(
                headers=headers,
                transport=self._transport,
                verify=self._trusted(),
                trust_env=self._config.trust_env and not self._config.is_loopback,
                timeout=httpx2.Timeout(self._timeout_s, connect=min(self._timeout_s, self._config.handshake_timeout_s)),
                follow_redirects=False,
            )
        except (ValueError, ImportError, httpx2.InvalidURL):
            # The address of a proxy may hold a password, so neither it nor the error that quotes it is shown.
            raise ConfigError(
                "the environment's proxy (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY) cannot be used: name an http:// or "
                "https:// address, or set trust_env=False"
            ) from None

    async def close(self) -> None:
        """Close the connections; requests under way fail."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def send(self, target: str, sign: Signer | None, where: str) -> Answer:
        """Send a GET request.

        Args:
            target: Path and query.
            sign: Makes the headers of a signature; None for a public request.
            where: The request's name in errors.

        Raises:
            OkxNetworkError: No answer came.
            OkxServerError: The answer is too long.
        """
        import httpx2

        if self._client is None:
            raise FeedClosedError("the REST client is not open; write `async with OkxRest(...) as rest:`")
        request = self._client.build_request("GET", self._config.rest_url + target)
        if sign is not None:
            # The signature covers the path as sent, after the library has encoded it.
            request.headers.update(sign(request.url.raw_path.decode("ascii")))
        asked = f"{where} at {request.url.netloc.decode()}"
        try:
            # The library's timeouts are for each read; a server that drips bytes would never meet them.
            async with asyncio.timeout(self._timeout_s):
                sent_ns = self._now_ns()
                response = await self._client.send(request, stream=True)
                try:
                    body = await _body(response, where)
                finally:
                    await response.aclose()
                received_ns = self._now_ns()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise network_error(error, where=asked) from error
        return Answer(response.status_code, body, response.headers.get("retry-after", ""), sent_ns, received_ns)

    async def fetch(self, url: str, path: Path, *, where: str) -> AsyncGenerator[float, None]:
        """Write a file of any length to disk; on an error nothing is left there.

        Args:
            url: Whole, of a host that the caller trusts.
            path: Where to.
            where: The file's name in errors.

        Yields:
            How much of it has come, from 0 to 1; nothing where the server does not tell its length.

        Raises:
            OkxNetworkError: No answer came, or it ended early.
            OkxServerError: It is not what the server's checksum says.
            OkxError: The answer is no file.
        """
        import httpx2

        if self._client is None:
            raise FeedClosedError("the REST client is not open; write `async with OkxRest(...) as rest:`")
        digest = hashlib.md5(usedforsecurity=False)
        try:
            # A file that is packed already comes as it lies there.
            headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
            async with self._client.stream("GET", url, headers=headers) as response:
                if response.status_code != 200:
                    raise reply_error("", None, where=where, status=response.status_code, retry_after_s=None)
                length = int(text) if (text := response.headers.get("content-length", "")).isdigit() else 0
                with path.open("wb") as file:
                    async for part in response.aiter_bytes():
                        digest.update(part)
                        file.write(part)
                        if length:
                            yield min(1.0, file.tell() / length)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            path.unlink(missing_ok=True)
            raise network_error(error, where=where) from error
        told = response.headers.get("content-md5", "")
        if told and told != base64.b64encode(digest.digest()).decode():
            path.unlink(missing_ok=True)
            raise damage(where, "its MD5 is not the one that the server tells")

    def _trusted(self) -> ssl.SSLContext | bool:
        path = self._config.ca_file
        if path is None:
            return True
        try:
            return ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {path}: cannot be used ({error}); name a PEM file of certificates") from error


async def _body(response: "httpx2.Response", where: str) -> bytes:
    """Read a body, but not without end."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _LONGEST_BODY:
            raise OkxServerError(
                f"{where}: the answer is longer than {_LONGEST_BODY >> 20} MiB; check the url", where=where
            )
        parts.append(part)
    return b"".join(parts)
