"""Where Optuna keeps the trials: a database, by its URL. No message shows more of that than driver, host, port and database."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trunkline.errors import BadInput, TrunklineError

if TYPE_CHECKING:
    import optuna
    from sqlalchemy.engine import URL

HEARTBEAT, GRACE = 15, 60  # seconds between signs of life of a trial, and without one until another process takes it over
CONNECT, BUSY = 10, 60  # seconds: to connect to a server, and for a file that another process writes
TRIES, BETWEEN = 10, 0.2  # of making the tables, and seconds between two
ATTRIBUTE = "trunkline_fingerprint"
# Parts of the words of databases that say why they cannot be used; the words themselves may hold more than is to be shown.
_REASONS = (
    "connection refused", "password authentication failed", "no password supplied", "role does not exist",
    "database does not exist", "timeout expired", "could not translate host name", "failed to resolve host",
    "permission denied", "database is locked", "database or disk is full", "no space left", "file is not a database",
    "unable to open database file", "readonly database", "terminating connection", "server closed the connection",
)  # fmt: skip


def require_optuna() -> None:
    """Raise BadInput where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise BadInput("trunkline sweep needs Optuna: pip install 'trunkline[sweep]'") from None


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's log and warnings still: its log has the words of errors, which may hold a text."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


class Storage:
    """A database that is open.

    Args:
        given: its URL; None for the file of a sweep without one.
        folder: of the sweep, with that file.
        where, base: as of `resolve`; a relative path of a SQLite file is relative to `base`.

    Attributes:
        name: what messages call it.

    Raises:
        BadInput: no URL of a database, a driver that is not installed, or a database that cannot be reached or used.
    """

    def __init__(self, given: str | None, folder: Path, where: str, base: Path) -> None:
        self.where = f"{where}: sweep.storage"
        url = self._url(given, folder, base)
        self.name = _shown(url)
        self.optuna = self._open(url)

    def join(self, name: str, fingerprint: str, direction: Literal["minimize", "maximize"], pruner: Any) -> optuna.Study:
        """The sweep's study, made where there is none of its name yet.

        Raises:
            BadInput: that of another sweep, or not of Trunkline.
        """
        import optuna

        with self.in_use():
            study = optuna.create_study(
                storage=self.optuna, study_name=name, direction=direction, load_if_exists=True, pruner=pruner
            )
            if ATTRIBUTE not in study.user_attrs and not study.get_trials(deepcopy=False):
                study.set_user_attr(ATTRIBUTE, fingerprint)
            found = study.user_attrs.get(ATTRIBUTE)
        if found != fingerprint:
            whose = (
                "that Trunkline has not made"
                if found is None
                else "of another space, another config, another trunk or other data"
            )
            raise BadInput(
                f"{self.where}: found a sweep {name!r} {whose} in {self.name}, expected another storage, or a config file with "
                "another name"
            )
        return study

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Say in one sentence that the database fails."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except TrunklineError:
            raise
        except Exception as error:  # Optuna makes other errors of it, too, on its way out of a trial
            if not any(isinstance(one, (StorageInternalError, SQLAlchemyError)) for one in _chain(error)):
                raise
            raise TrunklineError(
                f"{self.name}: the storage cannot be used ({_reason(error)}); the same command resumes the sweep"
            ) from None

    def _url(self, given: str | None, folder: Path, base: Path) -> URL:
        from sqlalchemy.engine import URL, make_url
        from sqlalchemy.exc import ArgumentError

        if given is None:
            return URL.create("sqlite", database=str(folder.absolute() / "sweep.db"))
        try:
            url = make_url(given)
            url.get_dialect()
        except (ArgumentError, ValueError):
            raise BadInput(
                f"{self.where}: not the URL of a database, expected one such as sqlite:////folder/trials.db or "
                "postgresql://user@host/database"
            ) from None
        except ImportError:
            raise self._no_driver(url.drivername) from None
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise BadInput(f"{self.where}: found a database in memory, expected a file, as trials are kept there")
            assert url.database is not None
            file = base.absolute() / url.database
            if not file.parent.is_dir():
                raise BadInput(f"{self.where}: {file.parent}: no such folder")
            url = url.set(database=str(file))
        return url

    def _open(self, url: URL) -> optuna.storages.RDBStorage:
        """Connect, and make the tables where there are none: all processes do, so one may find those that another is making."""
        from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

        for left in reversed(range(TRIES)):
            try:
                return self._connected(url)
            except ImportError:
                raise self._no_driver(url.drivername) from None
            except (SQLAlchemyError, RuntimeError) as error:
                racing = isinstance(error, (IntegrityError, ProgrammingError, RuntimeError)) or "already exists" in str(error)
                if left and racing:
                    time.sleep(BETWEEN)
                elif isinstance(error, RuntimeError):
                    expected = "a new database, as another version of Optuna has made this one"
                    raise BadInput(f"{self.where}: found {self.name}, expected {expected}") from None
                else:
                    what = "reached or used" if isinstance(error, DBAPIError) else "used"
                    raise BadInput(f"{self.where}: {self.name} cannot be {what} ({_reason(error)})") from None
        raise AssertionError("the last try returns or raises")

    def _connected(self, url: URL) -> optuna.storages.RDBStorage:
        from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

        waits = {"sqlite": {"timeout": BUSY}, "postgresql": {"connect_timeout": CONNECT}}
        made = RDBStorage(
            url.render_as_string(hide_password=False),
            {"connect_args": waits.get(url.get_backend_name(), {}), "pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True),
        )
        record = made.record_heartbeat

        def record_if_reached(trial_id: int) -> None:
            with suppress(Exception):  # else the thread that calls it would end, with a traceback on stderr
                record(trial_id)

        made.record_heartbeat = record_if_reached  # type: ignore[method-assign]
        return made

    def _no_driver(self, name: str) -> BadInput:
        remedy = "; pip install 'trunkline[postgresql]'" if name.startswith("postgresql") else ""
        return BadInput(f"{self.where}: the driver of {name} databases is not installed{remedy}")


def pruner(name: Literal["none", "median", "hyperband"], evaluations: int | None) -> Any:
    """Optuna's, with its own settings.

    Args:
        name: as of `sweep.pruner`.
        evaluations: how many a trial has at most; None: hyperband takes those of the first trial that is finished.
    """
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource="auto" if evaluations is None else evaluations)
    return optuna.pruners.NopPruner()


def _shown(url: URL) -> str:
    """A URL without user, password and options."""
    place = url.host or ""
    if url.port:
        place += f":{url.port}"
    return f"{url.get_backend_name()}://{place}/{url.database or ''}"


def _reason(error: BaseException) -> str:
    """Why a database cannot be used: one of the known reasons, or what the error is called."""
    texts = [re.sub(r'"[^"]*" ', "", str(one)).lower() for one in _chain(error)]
    found = next((reason for reason in _REASONS if any(reason in text for text in texts)), None)
    return found or "an error of the database"


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those that it comes from."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found
