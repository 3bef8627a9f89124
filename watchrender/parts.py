"""What a service is made of: each part built once, and given what it works with. Nothing is started here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from watchrender import disk
from watchrender.ahead import LookAhead
from watchrender.closing import Closer
from watchrender.config import Config, root_hash
from watchrender.control import Control
from watchrender.core import retry
from watchrender.core.states import State
from watchrender.drops import Drops
from watchrender.farm import Farm
from watchrender.finish import Finisher
from watchrender.forecast import Forecast
from watchrender.gate import Gate
from watchrender.handover import FarmPreparer
from watchrender.intake import Intake, Pace
from watchrender.judge import Judge, policy_of
from watchrender.ledger.ledger import Ledger, utc_now
from watchrender.notify import Notifier
from watchrender.prepare import Places, Preparer
from watchrender.render.ahead import Ahead
from watchrender.render.engine import CliEngine
from watchrender.render.fetch import FetchCache, Fetcher
from watchrender.render.footage import Footage
from watchrender.render.server import of_settings
from watchrender.render.warm import WarmNode
from watchrender.reports import Reports, log_of
from watchrender.retention import Retention
from watchrender.spool.folders import Folders
from watchrender.spool.statusfile import FRESH_POSITIONS, StatusWriter
from watchrender.spool.volume import Volume
from watchrender.worker import Worker

#: A fetched source may be so large, and take so long.
FETCH_BYTES = 64 * 2**30
FETCH_SECONDS = 4 * 3600.0
CACHE_BYTES = 20 * 2**30


class Parts:
    """Built around a hot folder and its record. `look` has the inbox looked at soon; `is_online` tells whether root is
    there and still ours, `may_beat` looks for that in service.json itself."""

    def __init__(
        self,
        config: Config,
        *,
        folders: Folders,
        ledger: Ledger,
        volume: Volume,
        state_dir: Path,
        node: str,
        look: Callable[[], None],
        is_online: Callable[[], bool],
        may_beat: Callable[[], bool],
    ) -> None:
        self._config = config
        self._folders = folders
        self._ledger = ledger
        self._look = look
        self._dated = volume.dates_folders
        self.marker = f"watchrender-{root_hash(Path(config.root))}"  # in the environment of all we start
        self.places = _places(config, state_dir, is_share=volume.is_share)
        self.pace = _pace(config, is_share=volume.is_share)
        self.gate = Gate(stamp=ledger.stamp, longest_wait=retry.longest_probe(config.retry.max_wait))
        self.notifier = Notifier(config, ledger, node=node)
        self.closer = Closer(folders=folders, ledger=ledger, log_of=partial(log_of, self.places))
        self.control = Control(ledger=ledger, folders=folders, gate=self.gate, look=look)
        self.forecast = Forecast(
            ledger,
            node,
            stopped=self.gate.stopped,
            lanes=lambda: self.worker.lanes(),
            waits=lambda job_id: self.worker.waits(job_id),
        )
        self.farm_server = of_settings(config.nexrender_server) if config.engine == "nexrender-server" else None
        self._build_judging()
        self._build_rendering(node)
        self._build_telling(volume, node, is_online, may_beat)
        self.retention = Retention(
            config=config,
            folders=folders,
            ledger=ledger,
            state_dir=state_dir,
            work_dir=self.places.work_dir,
            is_closed=self.closer.is_closed,
            gone=self.status_writer.gone,
            is_online=is_online,
        )

    def _build_judging(self) -> None:
        """From a file to a job that may run: footage, judge, what an attempt needs."""
        config, folders, work_dir = self._config, self._folders, self.places.work_dir
        cache = FetchCache(work_dir / "cache", CACHE_BYTES)
        fetcher = Fetcher(policy=policy_of(config), cap_bytes=FETCH_BYTES, timeout_seconds=FETCH_SECONDS, cache=cache)
        # The workers of a farm read their footage themselves: what is near us is not near them.
        near = Ahead(fetcher=fetcher, cache=cache, folder=work_dir / "attempts")
        self._footage = Footage(
            work_dir,
            fetcher=fetcher,
            ahead=near if self.farm_server is None else None,
            # By a clock that is behind, a file that grows looks as if it had been complete for long.
            wall=lambda: time.time() + min(0.0, folders.clock_ahead),
        )
        self.judge = Judge(
            config=config,
            folders=folders,
            ledger=self._ledger,
            footage=self._footage,
            module_installed=lambda name: self.preparer.module_installed(name),
            now=utc_now,
            settle_seconds=self.pace.settle,
        )
        prepares: dict[str, Any] = {
            "config": config,
            "folders": folders,
            "judge": self.judge,
            "footage": self._footage,
            "places": self.places,
            "marker": self.marker,
        }
        self.preparer: Preparer = (
            FarmPreparer(server=self.farm_server, **prepares) if self.farm_server else Preparer(**prepares)
        )
        self.preparer.estimate = self._eta_of_running

    def _build_rendering(self, node: str) -> None:
        """From the queue to the done folder."""
        config, ledger = self._config, self._ledger
        self.warm = WarmNode(
            marker=self.marker,
            folder=self.places.work_dir,
            recorded=lambda record: ledger.remember_tree(record.to_dict()),
            forgotten=ledger.forget_tree,
        )
        works: dict[str, Any] = {
            "folders": self._folders,
            "ledger": ledger,
            "gate": self.gate,
            "finisher": Finisher(
                config=config,
                folders=self._folders,
                ledger=ledger,
                closer=self.closer,
                places=self.places,
                learn=self.forecast.learn,
                rendered=self.forecast.compositions,
            ),
            "closer": self.closer,
            "retry_settings": config.retry,
            "node": node,
            "finish_running": config.shutdown == "finish",
        }
        self.worker: Worker = (
            Farm(
                preparer=self.preparer,
                server=self.farm_server,
                settings=config.nexrender_server,
                settle_seconds=self.pace.settle,
                **works,
            )
            if self.farm_server is not None and isinstance(self.preparer, FarmPreparer)
            else Worker(preparer=self.preparer, engine=CliEngine(start=self.warm.start), **works)
        )
        self.ahead = LookAhead(
            ledger=ledger, footage=self._footage, judged=self.preparer.judged_now, current=self.worker.current
        )

    def _build_telling(
        self, volume: Volume, node: str, is_online: Callable[[], bool], may_beat: Callable[[], bool]
    ) -> None:
        """What others read: status/, and the documents that it and the page are made of."""
        folders, ledger = self._folders, self._ledger
        self.reports = Reports(
            root=Path(self._config.root),
            node=node,
            volume=volume,
            pace=self.pace,
            ledger=ledger,
            gate=self.gate,
            forecast=self.forecast,
            work_dir=self.places.work_dir,
            engine=str(self._config.engine),
        )
        self.reports.disk = lambda: {
            "clock_ahead": folders.clock_ahead,
            "folds_case": folders.folds_case,
            "folds_accents": folders.folds_accents,
        }
        self.drops = Drops(
            folders=folders,
            ledger=ledger,
            intake=lambda: self.intake,
            dropped=self._look,
            ignore=self._config.watch.ignore,
        )
        self.status_writer = StatusWriter(
            folders.status,
            queue_document=self.reports.queue_document,
            service_document=self.reports.service_document,
            positions=lambda: ledger.queue(FRESH_POSITIONS),
            etas=self.forecast.queue,
            newest=ledger.get,
            is_moving=lambda job: job.state is State.CANCELLED and not self.closer.is_closed(job),
            page=_page_without_server(),
            is_online=is_online,
            may_beat=may_beat,
        )
        self.reports.status_refused = lambda: self.status_writer.refused

    def new_intake(self) -> Intake:
        """Intake that knows nothing yet but what is in the record. The one before it, if there was one, is closed."""
        self.intake = self.reports.intake = Intake(
            folders=self._folders,
            ledger=self._ledger,
            gate=self.gate,
            judge=self.judge,
            control=self.control,
            closer=self.closer,
            pace=self.pace,
            ignore=tuple(self._config.watch.ignore),
            put_back=self.worker.put_back,
            started_at=self.worker.started_at,
            is_told=self.status_writer.tells,
            dated=self._dated,
        )
        return self.intake

    def _eta_of_running(self, job_id: str, _transcript: object) -> dict[str, Any] | None:
        job = self._ledger.get(job_id)
        return None if job is None else self.forecast.running(job)


def _places(config: Config, state_dir: Path, *, is_share: bool) -> Places:
    said = config.nexrender
    work_dir = Path(said.work_dir) if said.work_dir else state_dir / "work"
    disk.mkdirs(work_dir)
    return Places(
        state_dir=state_dir,
        work_dir=work_dir,
        logs=state_dir / "logs",
        render_to_work=said.render_to == "work_dir" or (said.render_to == "auto" and is_share),
    )


def _pace(config: Config, *, is_share: bool) -> Pace:
    watch = config.watch
    return Pace(
        scan=float(watch.scan_interval if watch.scan_interval != "auto" else (5.0 if is_share else 2.0)),
        settle=float(watch.settle if watch.settle != "auto" else (12.0 if is_share else 2.0)),
        cut_off=watch.cut_off,
        assets_deadline=watch.assets_deadline,
    )


def _page_without_server() -> Callable[[Mapping[str, Any], Mapping[str, Any]], str]:
    """The page in the folder: the dashboard's own, with its data inside."""
    from watchrender.web import page

    return page.standalone
