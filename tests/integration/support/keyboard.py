"""Runs a command on a terminal of its own, as somebody who types and looks does, and prints what was seen.

usage: keyboard.py STEPS COMMAND..., where STEPS is a list in JSON: `{"type": TEXT}`, `{"until": TEXT}` waits for a text
behind the last one that was waited for, `{"resize": [COLUMNS, ROWS]}`; with `"telling": true` a wait tells the command
each second that the size has changed, which may have come before it listens to that
"""

import codecs, fcntl, json, os, pty, select, signal, struct, subprocess, sys, termios, time

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
ours, theirs = pty.openpty()


def resize(columns, rows):
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def become_its_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


resize(80, 24)
child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=become_its_terminal)
os.close(theirs)
decoder, seen, place = codecs.getincrementaldecoder("utf-8")("replace"), "", 0


def read(seconds):
    """Whether there may be more."""
    global seen
    if select.select([ours], [], [], seconds)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # nobody has the other end any more
            return False
        seen += decoder.decode(part)
    return True


def fail(what):
    child.kill()
    sys.exit(f"did not happen: {what}\n{seen!r}")


for step in steps:
    if "type" in step:
        os.write(ours, step["type"].encode())
    elif "resize" in step:
        resize(*step["resize"])
    else:
        deadline = time.monotonic() + 20
        tell = time.monotonic() + 1
        while step["until"] not in seen[place:]:
            if not read(0.05) or time.monotonic() > deadline:
                fail(step["until"])
            if step.get("telling") and time.monotonic() > tell:
                tell += 1
                os.killpg(child.pid, signal.SIGWINCH)
        place = seen.index(step["until"], place) + len(step["until"])
deadline = time.monotonic() + 20
while read(0.05):
    if time.monotonic() > deadline:
        fail("the end")
print(json.dumps({"status": child.wait(5), "seen": seen}))
