"""ServedHere: a service with all its runners in this process, for whoever brings the connections."""

from __future__ import annotations

from bentoml.config import LoadedConfig
from bentoml.runner.placements import Placement
from bentoml.server.app import App
from bentoml.server.placing import in_process, limited
from bentoml.service.service import Service

__all__ = ["ServedHere"]


class ServedHere:
    """An app, and below it the engines of the service's runners.

    Attributes:
        app: answers once `start` is done. It has no access log.
    """

    def __init__(self, service: Service, loaded: LoadedConfig) -> None:
        self._service = service
        self._loaded = loaded
        self._placements: list[Placement] = []
        self.app = App(service, loaded.config, is_ready=self._why_not_ready, access_log=None)

    async def start(self) -> None:
        """Load the models, then run what the service wants to run before its first request.

        Raises:
            Exception: what a model that cannot be loaded or a hook raised; nothing is left behind.
        """
        try:
            for runner in self._service.runners:
                placement = in_process(runner, self._service, self._loaded, worker_index=1)
                self._placements.append(limited(placement, runner, self._loaded))
                await self._placements[-1].start()
                runner.attach(self._placements[-1])
            await self.app.start()
        except BaseException:
            await self.close()
            raise

    async def stop(self) -> None:
        """Run the hooks for shutdown, then close."""
        try:
            await self.app.stop()
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the runners and their models."""
        for runner in self._service.runners:
            runner.attach(None)
        for placement in self._placements:
            await placement.close()
        self.app.close()

    def _why_not_ready(self) -> str | None:
        return None if all(placement.is_ready for placement in self._placements) else "Runners are not ready."
