"""``thalweg dev``: a program runs live, and anew each time that its files change.

The old program runs on until the new one is loaded; then it saves its state and stops, and the new one goes
on from there. A program with a mistake is told, and changes nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from thalweg.app import App
from thalweg.cli.failures import failure_of, is_own
from thalweg.cli.program import check_file, load, parted
from thalweg.cli.versions import notes
from thalweg.core.clock import SystemClock
from thalweg.core.version import DEV
from thalweg.engine.contract import RunOptions
from thalweg.observe.status import following
from thalweg.observe.watched import Watched

_LOOK_S: Final = 0.25

Seen = Mapping[Path, tuple[int, int]]
"""Of each file when it was changed, in nanoseconds, and its size; 0 and -1 where there is none."""


def develop(program: str, data: Path | None, serve: str | None, *, quiet: bool) -> None:
    """Run a program live, and anew when it changes; return when it is told to stop.

    Raises:
        PlanError: There is no such file, or an argument is wrong.
    """
    sys.dont_write_bytecode = True  # a file that is changed twice within a second would be taken from what is compiled
    Development(program, data, serve, quiet=quiet).run()


@dataclass(slots=True)
class Development:
    """A program while it is worked on.

    Attributes:
        program: The program's file, and the name of its app.
        data: The state directory of the app's first version; None for the app's own place.
        serve: Where HTTP is served while it runs; None: nowhere.
        quiet: Whether to show errors only.
    """

    program: str
    data: Path | None = None
    serve: str | None = None
    quiet: bool = False
    _next: App | None = None
    _running: App | None = None
    _told: bool = False
    _seen: Seen = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Run it until it is told to stop."""
        check_file(self._path)
        self._next = self._load()
        with self._watching():
            while True:
                app = self._wait_for_next()
                if not self._run(app):
                    break

    def _run(self, app: App) -> bool:
        """Run an app until it is stopped or its program changes; return whether to go on."""
        self._running = app
        engine = Watched(lambda run, plan, options: self._follow(run, plan, options))
        try:
            run_kept(app, self.data, engine, self.serve)
        except Exception as error:  # the next change may mend it
            self._tell(error)
            self._say("waiting for the next change; the state is that of the last checkpoint")
            return True
        finally:
            self._running = None
        if self._next is None and not engine.stopped:
            self._say("all is read; waiting for the next change")
            return True
        return self._next is not None

    def _follow(self, run: Any, plan: Any, options: RunOptions) -> Any:  # as Watched calls it
        for line in [f"{plan.name}: goes on with the changed program"] if self._told else notes(plan, options):
            self._say(line)
        self._told = True
        return following(run, quiet=self.quiet or not sys.stderr.isatty())

    def _wait_for_next(self) -> App:
        while self._next is None:
            SystemClock().wait(self._ended, _LOOK_S)
        app, self._next = self._next, None
        return app

    @contextmanager
    def _watching(self) -> Iterator[None]:
        watcher = threading.Thread(target=self._watch, name="thalweg-dev", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()

    def _watch(self) -> None:
        while not SystemClock().wait(self._ended, _LOOK_S):
            changed = [path for path, was in self._seen.items() if _look(path) != was]
            if changed:
                self._say(f"{', '.join(path.name for path in changed)} changed")
                self._next = self._load() or self._next
            # Said again at each look: a run that is just beginning does not hear it.
            if self._next is not None and (running := self._running) is not None:
                running.stop()

    def _load(self) -> App | None:
        """Load the program; None if it has a mistake, which is told."""
        path = self._path.resolve()
        # Looked at before: what changes while it is loaded has changed.
        before = {each: _look(each) for each in (path, *_own_files(path.parent))}
        forget(path.parent)
        try:
            app = load(self.program)
        except Exception as error:  # any mistake of the program: it is told, and mended by the next change
            self._tell(error)
            app = None
        self._seen = {each: before.get(each, _look(each)) for each in (*before, *_own_files(path.parent))}
        return app

    @property
    def _path(self) -> Path:
        return parted(self.program)[0]

    def _tell(self, error: Exception) -> None:
        print(failure_of(error).text(), file=sys.stderr, flush=True)

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


def run_kept(app: App, data: Path | None, engine: Watched, serve: str | None) -> None:
    """Run an app live as the version of ``thalweg dev``, with the state of its unchanged steps."""
    chosen: dict[str, Any] = {} if data is None else {"data": data}  # the arguments of App.run
    app.run(version=DEV, quiet=True, engine=engine, serve=serve, allow_state_loss=True, **chosen)


def forget(folder: Path) -> None:
    """Let the modules beside a program be loaded anew when it imports them; what runs keeps those that it has."""
    for name in [name for name, module in list(sys.modules.items()) if _is_own(module, folder)]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _own_files(folder: Path) -> list[Path]:
    modules = [module for module in list(sys.modules.values()) if _is_own(module, folder)]
    return sorted({Path(str(module.__file__)).resolve() for module in modules})


def _is_own(module: ModuleType, folder: Path) -> bool:
    """Tell whether a module is a file of the program's folder, and neither installed there nor what runs it."""
    file = getattr(module, "__file__", None)
    if file is None or module.__name__ == "__main__":
        return False
    return Path(file).resolve().is_relative_to(folder) and is_own(file)


def _look(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, -1  # an editor that replaces it may be at work
    return status.st_mtime_ns, status.st_size
