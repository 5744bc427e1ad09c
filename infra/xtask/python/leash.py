# Runs a command that must not outlive `cargo up`: leash.py [FOLDER ...] -- COMMAND [ARGUMENT ...]
#
# `cargo up` keeps this process's standard input open and never writes to it. The operating system closes it when
# `cargo up` ends in whatever way, SIGKILL included; then the command and all its descendants are ended and the
# folders deleted. The command gets a session of its own, so that Ctrl-C in a terminal reaches only `cargo up`.
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 3.0


def signal_group(child, number):
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def end(child):
    signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    signal_group(child, signal.SIGKILL)


def end_when_input_closes(child):
    while os.read(0, 4096):
        pass
    end(child)


def main():
    split = sys.argv.index("--")
    folders, command = sys.argv[1:split], sys.argv[split + 1 :]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"cannot start `{command[0]}`: {error.strerror}", file=sys.stderr)
        sys.exit(127)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: threading.Thread(target=end, args=(child,), daemon=True).start())
    threading.Thread(target=end_when_input_closes, args=(child,), daemon=True).start()
    status = child.wait()
    # Whatever the command started and left behind (environments of Lambda functions, say) goes with it.
    signal_group(child, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status if status >= 0 else 128 - status)


main()
