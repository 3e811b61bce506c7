"""Waiting while a target builds its indexes: a person sees how far it is, and may stop waiting at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from vecferry.engine.stop import Stop, interrupted
from vecferry.events import Observer, Progress, Stage
from vecferry.protocols import Indexing, Sink

_LOOK_SECONDS = 0.5


def wait_for(finish: Callable[[], None], sink: Sink, collection: str, *, observer: Observer, stop: Stop) -> None:
    """Run `finish`, which ends when `sink` serves everything, and tell how many vectors its indexes hold by then.

    Raises:
        Interrupted: a stop was requested. The target goes on building; a resumed run waits for the rest.
        VecferryError: what `finish` raised.
    """
    done: Future[None] = Future()
    threading.Thread(target=_carry_out, args=(finish, done), daemon=True).start()
    told = 0
    while not wait([done], timeout=_LOOK_SECONDS).done:
        if stop.requested:
            raise interrupted(
                f"Stopped on request while '{collection}' builds its indexes; the target goes on with it."
            )
        if isinstance(sink, Indexing) and (indexed := sink.indexed()) > told:
            observer(Progress(stage=Stage.INDEX, collection=collection, records=indexed - told))
            told = indexed
    done.result()


def _carry_out(finish: Callable[[], None], done: Future[None]) -> None:
    try:
        finish()
    except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
        done.set_exception(error)
    else:
        done.set_result(None)
