"""Webhooks: addresses that are told when a stage of a dataset has its verdict, and when the dataset is finished or has failed."""

import asyncio
import hashlib
import hmac
import logging
import uuid
from urllib.parse import urlsplit

import httpx

from distillery.schema.dataset import Event, Notice
from gateway.settings import GatewaySettings

_KINDS = frozenset({"verdict", "finished", "failed"})
_TRIES, _WAIT, _LONGEST = 5, 1.0, 10.0
_log = logging.getLogger("distillery.gateway")


class Webhooks:
    """Sends notices to the addresses of the settings, beside whatever else is done; one that can't be sent is logged and stops nothing."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._urls = [str(url) for url in settings.webhooks]
        self._secret = settings.webhook_secret.get_secret_value().encode() if settings.webhook_secret else None
        self._wait = min(_WAIT, settings.patience)
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, dataset: str, event: Event) -> None:
        """Begin to send a notice of an event, if it is of a kind that is told."""
        if event.event not in _KINDS:
            return
        body = Notice(dataset=dataset, event=event).model_dump_json().encode()
        for url in self._urls:
            task = asyncio.create_task(self._send(url, dataset, body, uuid.uuid4().hex), name=f"webhook of {dataset}")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Give up what is not sent yet."""
        for task in tuple(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, url: str, dataset: str, body: bytes, delivery: str) -> None:
        headers = {"Content-Type": "application/json", "Distillery-Delivery": delivery}
        if self._secret is not None:
            headers["Distillery-Signature"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        async with httpx.AsyncClient(timeout=_LONGEST, trust_env=False) as http:
            for k in range(_TRIES):
                try:
                    async with asyncio.timeout(_LONGEST), http.stream("POST", url, content=body, headers=headers) as answer:
                        answer.raise_for_status()  # nothing of it is read: it may have no end
                    return
                except (httpx.HTTPError, TimeoutError) as error:
                    _log.warning("webhook %s of %s, try %d of %d: %s", _hide_secrets(url), dataset, k + 1, _TRIES, _describe(error))
                await asyncio.sleep(self._wait * 2**k)


def _hide_secrets(url: str) -> str:
    """Where a webhook goes, for logs: user, path and query hold what lets anybody send there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


def _describe(error: Exception) -> str:
    """An error without its URL."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return str(error) or type(error).__name__
