"""`bentoml serve` as a whole: how it starts, what it says, what it survives, how it ends."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests._server import PATIENCE_S, Server, exchange, sample, serving, started, until

LIGHT = Path(__file__).parent / "services" / "light"
TINY = """
import os, pathlib, bentoml
from bentoml.io import JSON
svc = bentoml.Service("tiny")
@svc.api(input=JSON(), output=JSON())
async def echo(value):
    return value
@svc.api(input=JSON(), output=JSON())
async def answer(_):
    return 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a small service."""
    (tmp_path / "service.py").write_text(TINY)
    return tmp_path


@contextlib.contextmanager
def light(folder: Path, options: str = "") -> Iterator[Server]:
    """A server for one test to break: two API workers, two workers for one runner."""
    extra = {
        "BENTOML_CONFIG_OPTIONS": f"runners.far.placement=worker_process runners.far.resources.cpu=2 {options}",
        "BENTOML_API_WORKERS": "2",
    }
    with serving("service:svc", "--working-dir", str(LIGHT), folder=folder, home=folder, extra=extra) as server:
        yield server


def refusal(*arguments: str, folder: Path, extra: dict[str, str] | None = None, port: int | None = 0) -> str:
    """What a server says that ends before it is up."""
    extra = {"BENTOML_API_WORKERS": "1", **(extra or {})}
    with started(*arguments, folder=folder, home=folder / "home", extra=extra, port=port) as server:
        assert server.wait() == 1
        return server.log


class Load:
    """Clients that send one request after the other until they are told to stop.

    Attributes:
        answered: status → how often.
        lost: what happened to requests that were sent and not answered.
        refused: attempts to connect that were refused.
    """

    def __init__(self, server: Server, path: str, body: bytes, *, clients: int = 8) -> None:
        self.server = server
        self.answered: dict[int, int] = {}
        self.lost: list[BaseException] = []
        self.refused = 0
        self.wrong: list[bytes] = []
        self._path, self._body = path, body
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until_answered(self, more: int) -> None:
        target = sum(self.answered.values()) + more
        until(lambda: sum(self.answered.values()) >= target, "answers")

    def _client(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            if connection is None:
                connection = self.server.connect()
                try:
                    connection.connect()
                except OSError:
                    connection = None
                    self.refused += 1
                    if self.server.process.poll() is not None:
                        return
                    threading.Event().wait(0.01)
                    continue
            try:
                answer = exchange(connection, "POST", self._path, self._body)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.lost.append(error)
                connection = None
                continue
            with self._lock:
                self.answered[answer.status] = self.answered.get(answer.status, 0) + 1
            if answer.headers.get("connection") == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


# The start


def test_the_start_says_what_runs_where(folder: Path) -> None:
    with serving("service:svc", folder=folder, home=folder, extra={"BENTOML_API_WORKERS": "2"}) as server:
        log = server.log
        assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[INFO\] \[cli\] 2 API workers with ", log)
        assert "for /echo, /answer" in log
        assert (
            'Prometheus metrics for HTTP BentoServer from "service:svc" can be accessed at '
            f"http://127.0.0.1:{server.port}/metrics." in log
        )
        assert (
            f'Starting production HTTP BentoServer from "service:svc" running on http://127.0.0.1:{server.port} '
            "(Press CTRL+C to quit)" in log
        )
        assert len(server.workers("api_server")) == 2
        assert server.stop() == 0
        assert "stopping: finishing the requests in flight" in server.log


def test_a_folder_is_served_and_its_name_is_the_default(folder: Path) -> None:
    with serving("--development", folder=folder, home=folder) as server:
        assert server.post("/echo", [1]).value == [1]
        assert 'Starting development HTTP BentoServer from "."' in server.log
        assert len(server.workers("api_server")) == 1
        assert " [api_server:tiny:1] " in until(lambda: "path=/echo" in server.log and server.log, "the access line")


def test_the_port_may_come_from_the_environment_and_a_file_is_found_and_said(folder: Path) -> None:
    (folder / "bentoconfiguration.yaml").write_text("api_server:\n  workers: 1\n  metrics: {enabled: false}\n")
    with serving(folder=folder, home=folder, extra={"BENTOML_PORT": "0"}, port=None) as server:
        assert f"using the configuration file {folder}/bentoconfiguration.yaml" in server.log
        assert len(server.workers("api_server")) == 1
        assert server.get("/metrics").status == 404
        assert "Prometheus" not in server.log


def test_the_default_port_is_3000(folder: Path) -> None:
    with started(folder=folder, home=folder, port=None) as server:
        until(lambda: "3000" in server.log or server.process.poll() is not None, "the port")
        assert (
            "running on http://127.0.0.1:3000 " in server.log
            or "port 3000 on 127.0.0.1 is already in use" in server.log
        )
        server.process.kill()
        server.process.wait()


def test_a_taken_port_is_refused_and_its_owner_unharmed(folder: Path) -> None:
    """T24."""
    with serving(folder=folder, home=folder, extra={"BENTOML_API_WORKERS": "1"}) as first:
        said = refusal(folder=folder, port=first.port)
        assert re.fullmatch(
            f"Error: `serve` failed: port {first.port} on 127.0.0.1 is already in use "
            rf"\(hint: use another --port, or stop process {first.process.pid} \(.*\)\)\n",
            said,
        )
        assert first.post("/echo", 1).value == 1


def test_two_servers_on_one_store_do_not_disturb_each_other(folder: Path) -> None:
    """T24."""
    extra = {"BENTOML_API_WORKERS": "1"}
    with (
        serving(folder=folder, home=folder, extra=extra) as one,
        serving(folder=folder, home=folder, extra=extra) as two,
    ):
        assert (one.post("/echo", 1).value, two.post("/echo", 2).value) == (1, 2)
        name = "bentoml_api_server_request_total"
        assert (sample(one, name, endpoint="/echo"), sample(two, name, endpoint="/echo")) == (1, 1)
        assert one.stop() == 0
        assert two.post("/echo", 3).value == 3


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "service.py",
            "svc = (",
            "importing 'service' failed: {folder}/service.py:1: SyntaxError: '(' was never closed",
        ),
        ("service.py", "import nosuch", "ModuleNotFoundError: No module named 'nosuch' (hint: pip install nosuch)"),
        ("service.py", "\nraise KeyError('a')", "importing 'service' failed: {folder}/service.py:2: KeyError: 'a'"),
        ("service.py", "import sys; sys.exit(4)", "importing 'service' failed: {folder}/service.py:1: SystemExit: 4"),
        ("service.py", "", "no Service instance found in module 'service' (hint: svc = bentoml.Service('name', ...))"),
        (
            "service.py",
            "import bentoml\nref = bentoml.xgboost.get('nosuch:latest')",
            "`serve` failed: no model 'nosuch",
        ),
        (
            "bentoconfiguration.yaml",
            "api_server:\n  wrokers: 2\n",
            "unknown key `api_server.wrokers` (set by bentoconfiguration.yaml) (hint: did you mean `workers`?)",
        ),
        (
            "bentoconfiguration.yaml",
            "api_server:\n  backlog: many\n",
            "`api_server.backlog`: expected `int`, got `str` (set by bentoconfiguration.yaml)",
        ),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_text(content)
    log = refusal("service", folder=folder)
    last = log.splitlines()[-1]
    assert last.startswith("Error: `serve` failed: ")
    assert said.format(folder=folder) in last
    assert "Traceback" not in log


def test_a_service_that_is_not_there_is_refused_with_what_is(folder: Path) -> None:
    assert "there is no module 'nosuch' in" in refusal("nosuch:svc", folder=folder)
    said = refusal("service:nosuch", folder=folder)
    assert "'service' has no attribute 'nosuch' (hint: services there: svc)" in said


# The end


@pytest.mark.parametrize("path", ["/double_near", "/double_far"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(tmp_path: Path, number: signal.Signals, path: str) -> None:
    """T20."""
    with light(tmp_path) as server, Load(server, path, b"[1, 2]") as load:
        load.until_answered(100)
        server.signal(number)
        # A second one at once, as wrappers send it, changes nothing.
        server.signal(number)
        assert server.wait() == 0
    assert load.lost == []
    assert set(load.answered) == {200}
    assert "stopping at once" not in server.log


def test_a_request_in_flight_is_finished_and_new_clients_are_refused(tmp_path: Path) -> None:
    gates = {path: tmp_path / path.strip("/") for path in ("/wait_here", "/wait_far")}
    with light(tmp_path) as server, ThreadPoolExecutor(2) as pool:
        held = [pool.submit(server.post, path, str(gate)) for path, gate in gates.items()]
        for gate in gates.values():
            until(Path(f"{gate}.begun").exists, "the request")
        server.signal(signal.SIGTERM)
        server.said("stopping")

        def is_refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", server.port), PATIENCE_S).close()
            except ConnectionRefusedError:
                return True
            return False

        until(is_refused, "the port to be closed")
        assert server.process.poll() is None
        for gate in gates.values():
            gate.touch()
        assert [each.result(PATIENCE_S).status for each in held] == [200, 200]
        assert server.wait() == 0


def test_sigterm_to_every_process_at_once_is_as_good_as_to_the_first(tmp_path: Path) -> None:
    """What systemd does."""
    with light(tmp_path) as server, Load(server, "/double_far", b"[1]") as load:
        load.until_answered(100)
        for process in [*psutil.Process(server.process.pid).children(), psutil.Process(server.process.pid)]:
            process.terminate()
        assert server.wait() == 0
    assert load.lost == []
    assert set(load.answered) == {200}


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with light(tmp_path) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.post, "/wait_here", str(gate))
        until(Path(f"{gate}.begun").exists, "the request")

        def interrupt() -> bool:
            server.signal(signal.SIGINT)
            return "stopping at once: requests in flight are lost" in server.log

        until(interrupt, "the second signal to count")
        assert server.wait() in (1, 130, -signal.SIGINT), "what a third one finds differs"
        with pytest.raises((OSError, http.client.HTTPException)):
            held.result(PATIENCE_S)


def test_a_server_may_be_stopped_while_it_starts(folder: Path) -> None:
    (folder / "service.py").write_text(f"import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep({PATIENCE_S})")
    with started(folder=folder, home=folder) as server:
        until((folder / "begun").exists, "the import")
        assert server.stop() == 0


def test_handlers_that_take_longer_than_the_grace_period_are_cut_off(tmp_path: Path) -> None:
    with light(tmp_path, "api_server.shutdown_grace=0.3") as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.post, "/wait_here", str(tmp_path / "never"))
        until((tmp_path / "never.begun").exists, "the request")
        assert server.stop() == 0
        with pytest.raises((OSError, http.client.HTTPException)):
            held.result(PATIENCE_S)


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with light(tmp_path) as server:
        workers = server.workers("api_server") + server.workers("runner")
        assert len(workers) == 4
        server.process.kill()
        server.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
        assert alive == []


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    extra = {"TMPDIR": str(tmp_path / "run")}
    (tmp_path / "run").mkdir()
    (tmp_path / "service.py").write_text(TINY)
    with serving(folder=tmp_path, home=tmp_path, extra=extra) as server:
        [run_dir] = (tmp_path / "run").iterdir()
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
        assert server.stop() == 0
    assert list((tmp_path / "run").iterdir()) == []


# Workers that die


def test_a_killed_api_worker_costs_only_what_it_had_in_hand(tmp_path: Path) -> None:
    """T19."""
    with light(tmp_path) as server, Load(server, "/echo", b"[1]") as load:
        load.until_answered(50)
        victim = server.workers("api_server")[0]
        victim.kill()
        server.said(f"(pid {victim.pid}) was killed by SIGKILL")
        until(lambda: len(server.workers("api_server")) == 2, "the successor")
        server.said("is ready again")
        load.until_answered(50)
        assert len(load.lost) <= 8, "at most one for each client"
        assert set(load.answered) == {200}
        until(lambda: sample(server, "bentoml_worker_restarts_total") == 1, "the count of restarts")


def test_a_killed_runner_worker_fails_its_calls_at_once_and_the_other_goes_on(tmp_path: Path) -> None:
    """T19."""
    never = tmp_path / "never"
    with light(tmp_path) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.post, "/wait_far", str(never))
        until(Path(f"{never}.begun").exists, "the call")
        victim = psutil.Process(until(lambda: int(Path(f"{never}.begun").read_text() or 0), "its pid"))
        with Load(server, "/double_far", b"[1]") as load:
            load.until_answered(20)
            victim.kill()
            answer = held.result(PATIENCE_S)
            assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, b'""', "1")
            server.said(f"(pid {victim.pid}) was killed by SIGKILL")
            server.said("the worker of the runner 'far' ended while it had this call")
            server.said("runner:far")
            load.until_answered(50)
            server.said("is ready again")
        assert load.lost == []
        assert set(load.answered) <= {200, 503}
        assert load.answered[200] > 60
        assert until(server.is_ready, "/readyz")
        assert server.post("/double_far", [4]).value == [8]


def test_readiness_is_false_while_a_runner_has_no_worker(tmp_path: Path) -> None:
    with light(tmp_path) as server:
        for worker in server.workers("runner"):
            worker.kill()
        not_ready = until(lambda: (a := server.get("/readyz")).status == 503 and a, "not to be ready")
        assert (not_ready.body, not_ready.headers["retry-after"]) == (b"Runners are not ready.\n", "1")
        assert server.get("/livez").status == 200
        assert server.post("/double_near", [1]).status == 200
        until(server.is_ready, "/readyz")
        assert server.post("/double_far", [4]).value == [8]


def test_a_model_that_kills_its_worker_again_and_again_ends_the_server(tmp_path: Path) -> None:
    """T19: a crash loop is given up loudly."""
    with light(tmp_path, "runners.far.resources.cpu=1 api_server.workers=1") as server:
        with Load(server, "/die_far", b"null", clients=2) as load:
            assert server.wait() == 1
        assert set(load.answered) <= {503}
        assert server.log.rstrip().endswith(
            "Error: `serve` failed: runner:far:1 died 5 times in a row; giving up "
            "(hint: the lines above say what it died of)"
        )
        assert server.log.count("was killed by SIGKILL") == 5


def test_a_worker_that_can_no_longer_start_says_why_until_it_is_given_up(folder: Path) -> None:
    with serving("service:svc", folder=folder, home=folder, extra={"BENTOML_API_WORKERS": "1"}) as server:
        (folder / "service.py").write_text("import nosuch")
        server.workers("api_server")[0].kill()
        assert server.wait() == 1
        assert "api_server:1 could not start: importing 'service' failed: " in server.log
        assert "api_server:1 died 5 times in a row; giving up" in server.log.splitlines()[-1]


def test_counts_stay_exact_over_workers_and_their_deaths(tmp_path: Path) -> None:
    with light(tmp_path) as server:
        name, labels = "bentoml_api_server_request_total", {"endpoint": "/echo", "http_response_code": "200"}
        answers = server.post_all("/echo", list(range(200)), connections=8)
        assert [answer.value for answer in answers] == list(range(200))
        assert sample(server, name, **labels) == 200
        pids = {server.post("/pid", None).value for _ in range(40)}
        assert len(pids) == 2, "both workers answer"
        server.workers("api_server")[0].kill()
        server.said("is ready again")
        server.post_all("/echo", list(range(100)), connections=8)
        assert sample(server, name, **labels) == 300
        assert sample(server, "bentoml_api_server_request_duration_seconds_count", **labels) == 300
        assert sample(server, "bentoml_api_server_request_in_progress", endpoint="/echo") == 0


# Reloading


def test_reload_picks_up_an_edit_and_survives_a_mistake(folder: Path) -> None:
    with serving("service:svc", "--reload", folder=folder, home=folder) as server, Load(server, "/echo", b"1") as load:
        assert server.post("/answer", None).value == 1
        (folder / "service.py").write_text(TINY.replace("return 1", "return 2"))
        server.said("service.py changed: reloading")
        until(lambda: server.post("/answer", None).body == b"2", "the edit")
        (folder / "service.py").write_text("svc = (")
        server.said("SyntaxError: '(' was never closed")
        server.said("waiting for a file to change")
        (folder / "notes.txt").write_text("does not matter")
        (folder / "service.py").write_text(TINY.replace("return 1", "return 3"))
        until(lambda: server.post("/answer", None).body == b"3", "the correction")
        assert load.lost == [], "clients wait while the worker is replaced"
        assert "notes.txt" not in server.log
        assert server.log.count(": reloading") == server.log.count("service.py changed: reloading")


# Who may speak to the runners


def test_a_stranger_cannot_reach_a_runner_and_a_pickle_is_refused(tmp_path: Path) -> None:
    """T2, T5."""
    with light(tmp_path) as server:
        paths = [
            Path(connection.laddr)
            for worker in server.workers("runner")
            for connection in worker.net_connections(kind="unix")
            if connection.laddr
        ]
        [run_dir] = {path.parent for path in paths}
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
        for path in paths:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect(str(path))
                sock.sendall(b"cos\nsystem\n(S'touch canary'\ntR.")
                assert sock.makefile("rb").read().startswith(b"mkwf"), "its greeting, and then the end"
        server.said("a connection to the runner far was dropped: the peer does not speak this protocol")
        assert server.post("/double_far", [1]).value == [2]
        assert not (LIGHT / "canary").exists()
        if os.getuid() != 0:
            pytest.skip("only root can become somebody else")
        script = (
            "import os, socket; os.setgid(65534); os.setuid(65534); "
            f"socket.socket(socket.AF_UNIX).connect({str(paths[0])!r})"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "PermissionError" in done.stderr


# A unix socket


def curl(path: Path, url: str, *arguments: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", str(path), *arguments, f"http://localhost{url}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_unix_socket_is_served_instead_of_a_port_and_taken_away_at_the_end(folder: Path) -> None:
    path = folder / "here.sock"
    extra = {"BENTOML_API_WORKERS": "2"}
    with started("service:svc", "--uds", str(path), folder=folder, home=folder, extra=extra) as server:
        server.said("ready after ")
        assert f"running on http+unix:{path} (" in server.log
        assert curl(path, "/echo", "-d", "[1]") == "[1]"
        server.said("] _ (scheme=http,method=POST,path=/echo,")
        assert not any(each.laddr for each in psutil.Process(server.process.pid).net_connections("inet"))
        second = refusal("service:svc", "--uds", str(path), folder=folder)
        assert f"Error: `serve` failed: the unix socket {path} is already in use" in second
        assert curl(path, "/answer", "-d", "1") == "1"
        assert server.stop() == 0
    assert not path.exists()


def test_the_unix_socket_of_a_killed_server_is_replaced(folder: Path) -> None:
    path = folder / "here.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with started("service:svc", "--uds", str(path), "--development", folder=folder, home=folder) as server:
        server.said("ready after ")
        assert curl(path, "/answer", "-d", "1") == "1"
