"""Runs `pointsman status --watch` on a terminal of its own, makes that smaller, ends it, and prints what was seen.

usage: terminal.py END PROGRAM ADMIN, where END is a key (`q`, `ctrl-c`) or a signal (`TERM`, `INT`)
"""

import codecs, fcntl, json, os, pty, re, select, signal, struct, subprocess, sys, termios, time

end, program, admin = sys.argv[1:]
ours, theirs = pty.openpty()


def resize(columns, rows):
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def become_its_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


resize(120, 30)
before = termios.tcgetattr(theirs)
child = subprocess.Popen(
    [program, "status", "--watch", "--interval", "0.2", "--admin", admin],
    stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=become_its_terminal,
)
# What is read may end within a character.
decoder, seen = codecs.getincrementaldecoder("utf-8")("replace"), ""


def frames():
    """Whole frames, without colours and erasing."""
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame) for frame in seen.split("\x1b[H")[1:-1]]


def until(is_so, what):
    global seen
    deadline = time.monotonic() + 20
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"did not happen: {what}\n{seen!r}")
        if select.select([ours], [], [], 0.05)[0]:
            seen += decoder.decode(os.read(ours, 65536))


def flags():
    return termios.tcgetattr(theirs)[3]


until(lambda: any("u/b0" in frame for frame in frames()), "a frame")
large = frames()[-1]
is_raw = not flags() & (termios.ICANON | termios.ECHO)
resize(30, 6)
count = len(frames())
# The one that is being drawn may still be a large one.
until(lambda: len(frames()) > count + 2, "frames of the smaller size")
small = frames()[-1]
if end in ("q", "ctrl-c"):
    os.write(ours, b"q" if end == "q" else b"\x03")
else:
    child.send_signal(getattr(signal, "SIG" + end))
until(lambda: child.poll() is not None, "the end")
while select.select([ours], [], [], 0.1)[0]:
    seen += decoder.decode(os.read(ours, 65536))
print(json.dumps({
    "status": child.returncode, "all": seen, "large": large, "small": small,
    "raw": is_raw, "restored": termios.tcgetattr(theirs) == before,
}))
