"""A headless Firefox, driven by its own Marionette protocol: messages of JSON, each behind its length. No driver is needed."""

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager


class Firefox:
    def __init__(self, connection):
        self.connection, self.buffer, self.number = connection, b"", 0
        self._receive()
        self.command("WebDriver:NewSession", {})
        self.command("WebDriver:SetTimeouts", {"script": 60_000})

    def _receive(self):
        while b":" not in self.buffer:
            self.buffer += self.connection.recv(65536)
        length, _, rest = self.buffer.partition(b":")
        while len(rest) < int(length):
            rest += self.connection.recv(65536)
        self.buffer = rest[int(length) :]
        return json.loads(rest[: int(length)])

    def command(self, name, parameters):
        self.number += 1
        message = json.dumps([0, self.number, name, parameters]).encode()
        self.connection.sendall(str(len(message)).encode() + b":" + message)
        *_, error, result = self._receive()
        assert not error, error
        return result

    def open(self, url):
        self.command("WebDriver:Navigate", {"url": url})

    def run(self, script):
        """What the body of an async function returns in the page."""
        wrapped = (
            f"const done = arguments[0]; (async () => {{ {script} }})().then(done, (error) => done(`${{error}}`));"
        )
        return self.command("WebDriver:ExecuteAsyncScript", {"script": wrapped, "args": [], "sandbox": None})["value"]


def path():
    return shutil.which("firefox") or shutil.which("firefox-esr")


@contextmanager
def firefox(folder):
    """Start Firefox with a profile in an empty folder; yields it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {
        "app.update.enabled": False,
        "browser.shell.checkDefaultBrowser": False,
        "network.captive-portal-service.enabled": False,
    }
    settings = {"marionette.port": port, "datareporting.policy.dataSubmissionEnabled": False, **quiet}
    (folder / "user.js").write_text(
        "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in settings.items())
    )
    command = [path(), "--marionette", "--headless", "--profile", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=90)
                break
            except OSError:
                time.sleep(0.1)
        yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(30)
