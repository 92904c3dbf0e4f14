"""Edge devices of the demo: each is an sshd on loopback with its own host key, keys file and folder."""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time


def running(pid, marker):
    """Whether `pid` is alive and its command line names `marker` (a pid may have been given away)."""
    try:
        return marker in open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace").read()
    except OSError:
        return False


def stop_pid(pid, seconds=15):
    try:
        os.kill(pid, signal.SIGTERM)
        for _ in range(seconds * 10):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Device:
    def __init__(self, folder, name):
        self.name = name
        self.folder = os.path.join(folder, "devices", name)
        self.agent_root = os.path.join(self.folder, "agent")
        self.authorized_keys = os.path.join(self.folder, "authorized_keys")
        self.bootstrap_key = os.path.join(self.folder, "bootstrap")
        self.host_key = os.path.join(self.folder, "host_key")
        self.config = os.path.join(self.folder, "sshd_config")
        self.pid_file = os.path.join(self.folder, "sshd.pid")
        self.user = pwd.getpwuid(os.getuid()).pw_name

    @property
    def port(self):
        return int(open(os.path.join(self.folder, "port"), encoding="utf-8").read())

    @property
    def fingerprint(self):
        done = subprocess.run(["ssh-keygen", "-lf", self.host_key + ".pub"], capture_output=True, text=True, check=True)
        return done.stdout.split()[1]

    def prepare(self):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        for path in (self.host_key, self.bootstrap_key):
            if not os.path.exists(path):
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", path], check=True)
        if not os.path.exists(self.authorized_keys):
            shutil.copyfile(self.bootstrap_key + ".pub", self.authorized_keys)
            os.chmod(self.authorized_keys, 0o600)
        port_file = os.path.join(self.folder, "port")
        if not os.path.exists(port_file):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            with open(port_file, "w", encoding="utf-8") as f:
                f.write(str(port))
        with open(self.config, "w", encoding="utf-8") as f:
            f.write("\n".join([
                f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.host_key}", f"PidFile {self.pid_file}",
                f"AuthorizedKeysFile {self.authorized_keys}", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
                "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "MaxStartups 100", "PrintMotd no",
                "LogLevel ERROR", ""]))

    def start(self):
        self.stop_sshd()
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        subprocess.run(["/usr/sbin/sshd", "-f", self.config, "-E", os.path.join(self.folder, "sshd.log")], check=True)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"sshd of {self.name} did not start; see {self.folder}/sshd.log")

    def stop_sshd(self):
        try:
            pid = int(open(self.pid_file, encoding="utf-8").read())
        except (FileNotFoundError, ValueError):
            return
        if running(pid, self.config):
            stop_pid(pid)

    def stop(self):
        """Switches the device off: its sshd, its agent and what the agent runs."""
        self.stop_sshd()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) != os.getpid() and running(pid, self.agent_root + "/"):
                stop_pid(int(pid), seconds=5)
