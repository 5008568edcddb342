"""The client against the real agent, run on this host."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import secrets
import signal
import socket
from pathlib import Path

import pytest

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.channel import GuestChannel, GuestRefusal
from banger.guest.stream import GuestStream
from banger.guest.wire import Frame
from tests.core.guest.client import exit_code, run_command


async def until(condition: object, timeout: float = 20) -> None:
    """Wait until ``condition()`` is true."""
    assert callable(condition)
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def run(channel: GuestChannel, *argv: str, input: bytes = b"", **fields: object):  # type: ignore[no-untyped-def]
    return await run_command(channel, argv, input=input, timeout=20, max_output=1 << 26, **fields)  # type: ignore[arg-type]


async def read_all(stream: GuestStream) -> tuple[bytes, int]:
    output = b""
    while True:
        frame = await stream.read_frame()
        if frame.type == wire.DATA:
            output += frame.payload
            await stream.grant(frame)
        elif frame.type == wire.EXIT:
            return output, exit_code(frame.json())


async def read_until(stream: GuestStream, text: bytes) -> bytes:
    output = b""
    async with asyncio.timeout(10):
        while text not in output:
            frame = await stream.read_frame()
            assert frame.type in (wire.DATA, wire.CREDIT), frame
            output += frame.payload if frame.type == wire.DATA else b""
    return output


async def test_health_says_who_it_is(channel: GuestChannel) -> None:
    answer = await channel.request("health")
    assert answer["state"] == "ready"
    assert answer["protocol"] == wire.VERSION
    assert channel.info.state == "ready"


async def test_output_error_and_exit_code(channel: GuestChannel) -> None:
    done = await run(channel, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


async def test_binary_input_comes_back(channel: GuestChannel) -> None:
    data = os.urandom(3_000_000) + wire.hello(bytes(16)) + bytes(range(256))
    done = await run(channel, "cat", input=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


async def test_arguments_are_bytes(channel: GuestChannel) -> None:
    word = os.fsdecode(b"\xff\xfe\xc3\xa9\xed\xa0\x80 \x01\"'\\")
    done = await run(channel, "printf", "%s", word)
    assert done.stdout == os.fsencode(word)


async def test_environment_directory_and_user(channel: GuestChannel, tmp_path: Path) -> None:
    done = await run(channel, "sh", "-c", "echo $A:$HOME:$0; pwd", env={"A": "1"}, cwd=str(tmp_path))
    assert (
        done.stdout == f"1:{pwd.getpwuid(os.getuid()).pw_dir}:sh\n{tmp_path}\n".encode() or os.getuid() != 0
    )
    if os.getuid() == 0:
        done = await run(channel, "sh", "-c", "id -u; id -un; id -G; echo $USER", user="nobody", cwd="/")
        assert done.stdout == b"65534\nnobody\n65534\nnobody\n"
        done = await run(channel, "id", "-u", user=4321, cwd="/")
        assert done.stdout == b"4321\n"
        for user, ids in {
            "nobody:daemon": "65534 1",
            "4321:77": "4321 77",
            ":5": "0 5",
            "7:adm": "7 4",
        }.items():
            done = await run(channel, "sh", "-c", "echo $(id -u) $(id -G)", user=user, cwd="/")
            assert done.stdout == f"{ids}\n".encode()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"argv": ["no-such-command-at-all"]}, "not-found"),
        ({"argv": ["/etc/passwd"]}, "permission"),
        ({"argv": ["true"], "cwd": "/no/such/place"}, "cwd"),
        ({"argv": ["true"], "user": "nobody-at-all"}, "no-user"),
        ({"argv": ["true"], "user": "root:no-such-group"}, "no-user"),
        ({"argv": []}, "bad-request"),
        ({"argv": "true"}, "bad-request"),
    ],
)
async def test_what_cannot_start_is_refused(
    channel: GuestChannel, fields: dict[str, object], code: str
) -> None:
    with pytest.raises(GuestRefusal) as caught:
        await channel.open("exec", **fields)
    assert caught.value.code == code


async def test_bad_requests_do_no_harm(channel: GuestChannel) -> None:
    for op in ("", "dance", "x" * 5000):
        with pytest.raises(GuestRefusal, match="does not know"):
            await channel.request(op)
    with pytest.raises(GuestRefusal):
        deep: list[object] = []
        for _ in range(100):
            deep = [deep]
        await channel.request("health", deep=deep)
    assert (await channel.request("health"))["state"] == "ready"


async def test_signals_reach_the_group_and_are_reported(channel: GuestChannel) -> None:
    stream = await channel.open("exec", argv=["sh", "-c", "echo go; sleep 100"])
    await read_until(stream, b"go")
    await stream.send_frame(wire.signal(1, signal.SIGTERM))
    assert (await read_all(stream))[1] == 128 + signal.SIGTERM


async def test_a_terminal(channel: GuestChannel) -> None:
    stream = await channel.open(
        "exec", argv=["sh"], tty=True, rows=33, cols=77, env={"PS1": "> ", "TERM": "xterm"}
    )
    await stream.send_data(b"tty; stty size; echo $TERM\n")
    shown = await read_until(stream, b"xterm\r\n")
    assert b"33 77" in shown
    assert b"/dev/pts/" in shown
    await stream.send_frame(wire.resize(1, 50, 120))
    await stream.send_data(b"stty size; sleep 100\n")
    await read_until(stream, b"50 120")
    await asyncio.sleep(0.3)  # what is typed around a Ctrl-C is flushed with it
    await stream.send_data(b"\x03")
    await read_until(stream, b"> ")
    await stream.send_data(b"echo still $((40 + 2))\n")
    await read_until(stream, b"still 42")
    await stream.send_data(b"exit 3\n")
    assert (await read_all(stream))[1] == 3


async def test_end_of_input_on_a_terminal(channel: GuestChannel) -> None:
    stream = await channel.open("exec", argv=["cat"], tty=True)
    await stream.send_data(b"hello\n")
    await stream.send_eof()
    output, code = await read_all(stream)
    assert (output, code) == (b"hello\r\nhello\r\n", 0)


async def test_a_big_output_waits_for_credit(channel: GuestChannel) -> None:
    stream = await channel.open("exec", argv=["head", "-c", "5000000", "/dev/zero"])
    await asyncio.sleep(0.3)
    queued = sum(len(frame.payload) for frame in stream._frames)
    assert 0 < queued <= wire.WINDOW
    assert (await channel.request("health"))["state"] == "ready"
    output, code = await read_all(stream)
    assert (len(output), code) == (5_000_000, 0)


async def test_a_last_big_write_is_not_cut_by_the_exit(channel: GuestChannel) -> None:
    stream = await channel.open(
        "exec", argv=["sh", "-c", "head -c 260000 /dev/zero; head -c 60000 /dev/zero; (sleep 100 &)"]
    )
    await asyncio.sleep(0.5)
    output, code = await read_all(stream)
    assert (len(output), code) == (320_000, 0)


async def test_a_grandchild_with_the_pipe_does_not_hold_the_end(channel: GuestChannel) -> None:
    async with asyncio.timeout(20):
        done = await run(channel, "sh", "-c", "sleep 100 & echo hi")
        assert (done.exit_code, done.stdout) == (0, b"hi\n")
        done = await run(channel, "sh", "-c", "(while :; do echo y; sleep 0.01; done) & sleep 0.1")
        assert done.exit_code == 0


async def test_input_for_a_process_that_does_not_read(channel: GuestChannel) -> None:
    done = await run(channel, "sh", "-c", "exec <&-; sleep 0.3; echo done", input=bytes(2_000_000))
    assert (done.exit_code, done.stdout) == (0, b"done\n")


async def test_many_at_once_and_no_more_than_the_limit(channel: GuestChannel) -> None:
    streams = [await channel.open("exec", argv=["cat"]) for _ in range(wire.MAX_STREAMS)]
    with pytest.raises(GuestError, match="256"):
        await channel.open("exec", argv=["cat"])
    for number, stream in enumerate(streams):
        await stream.send_data(b"%d" % number)
        await stream.send_eof()
    results = await asyncio.gather(*map(read_all, streams))
    assert results == [(b"%d" % number, 0) for number in range(wire.MAX_STREAMS)]


async def test_closing_a_stream_hangs_up_then_kills(channel: GuestChannel, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        f"trap '' HUP; echo $$ > {pid_file}.tmp; mv {pid_file}.tmp {pid_file}; while :; do sleep 0.1; done"
    )
    stream = await channel.open("exec", argv=["sh", "-c", script])
    await until(pid_file.exists)
    pid = int(pid_file.read_text())
    await stream.close()
    await asyncio.sleep(0.3)
    assert Path(f"/proc/{pid}").exists()
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_a_new_connection_ends_what_the_old_one_ran(listening_agent: Path, tmp_path: Path) -> None:
    first = await GuestChannel.connect(listening_agent, timeout=5)
    kept = await first.open("exec", argv=["sleep", "60"], detached=True)
    stream = await first.open("exec", argv=["sleep", "60"])
    await first.close()
    second = await GuestChannel.connect(listening_agent, timeout=5)
    await until(lambda: not Path(f"/proc/{stream.accept['pid']}").exists())
    assert Path(f"/proc/{kept.accept['pid']}").exists()
    os.kill(kept.accept["pid"], signal.SIGKILL)
    assert (await run(second, "echo", "hi")).stdout == b"hi\n"
    await second.close()


async def test_files(channel: GuestChannel, tmp_path: Path) -> None:
    data, path = os.urandom(1_500_000), tmp_path / "a/b/file"
    fields = {"path": str(path), "mode": 0o640, "uid": os.getuid(), "gid": os.getgid()}
    stream = await channel.open("file-write", parents=True, **fields)
    await stream.send_data(data)
    await stream.send_eof()
    assert (await read_all(stream))[1] == 0
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == 0o640
    stream = await channel.open("file-read", path=str(path))
    assert (stream.accept["size"], stream.accept["mode"]) == (len(data), 0o640)
    assert await read_all(stream) == (data, 0)
    for bad, code in ((str(tmp_path), "bad-request"), ("relative", "bad-request"), ("/no/such", "not-found")):
        with pytest.raises(GuestRefusal) as caught:
            await channel.open("file-read", path=bad)
        assert caught.value.code == code


async def test_a_write_that_is_given_up_leaves_the_old_file(channel: GuestChannel, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    stream = await channel.open("file-write", path=str(path))
    await stream.send_data(b"new")
    await stream.close()
    await until(
        lambda: (
            list(tmp_path.iterdir())
            in ([path], [path, tmp_path / "agent.sock"], [tmp_path / "agent.sock", path])
        )
    )
    assert path.read_text() == "old"


async def test_relay_to_a_port_and_a_socket(channel: GuestChannel, tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    tcp = await asyncio.start_server(echo, "127.0.0.1", 0)
    unix = await asyncio.start_unix_server(echo, tmp_path / "echo")
    number = tcp.sockets[0].getsockname()[1]
    data = os.urandom(1_000_000)
    for fields in ({"port": number}, {"unix": str(tmp_path / "echo")}):
        stream = await channel.open("relay", **fields)
        feeding = asyncio.create_task(stream.send_data(data))
        reading = asyncio.create_task(read_all(stream))
        await feeding
        await stream.send_eof()
        assert await reading == (data, 0)
    tcp.close()
    unix.close()
    with pytest.raises(GuestRefusal) as caught:
        await channel.open("relay", port=number)
    assert caught.value.code == "refused"


def own_command() -> bytes:
    return Path("/proc/self/cmdline").read_bytes()[:255].rstrip(b"\0").replace(b"\0", b" ")


async def test_reports(channel: GuestChannel) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    ports = (await channel.request("ports"))["ports"]
    mine = [p for p in ports if p["port"] == listener.getsockname()[1]]
    assert mine[0]["address"] == "127.0.0.1"
    assert (mine[0]["pid"], mine[0]["protocol"]) == (os.getpid(), "tcp")
    assert mine[0]["command"].encode("utf-8", "surrogateescape") == own_command()
    listener.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        ports = (await channel.request("ports"))["ports"]
        mine = [p for p in ports if p["port"] == udp.getsockname()[1]]
        assert mine[0]["protocol"] == "udp"
    stats = await channel.request("stats")
    assert stats["memory"]["total_kib"] > 0
    assert stats["network"]["rx_bytes"] >= 0
    assert await channel.request("wait-system", timeout_s=5) == {"state": "unmanaged", "failed": []}


# ---- after a cut: the daemon was killed inside a frame, and the agent did not see the line drop


def greet(port: socket.socket) -> bytes:
    """HELLO on a stream in any condition; returns what came after the answer."""
    nonce = secrets.token_bytes(16)
    finder = wire.HelloFinder(nonce)
    port.sendall(wire.hello(nonce))
    while True:
        if found := finder.feed(port.recv(65536)):
            return found[2]


def call(port: socket.socket, parser: wire.Parser, stream: int, argv: list[str]) -> bytes:
    port.sendall(wire.encode(Frame(wire.OPEN, stream, 0, wire.encode_json({"op": "exec", "argv": argv}))))
    output = b""
    while True:
        for frame in parser.feed(port.recv(65536)):
            output += frame.payload if frame.type == wire.DATA else b""
            if frame.type in wire.FINAL:
                return output


def open_cat(port: socket.socket, path: Path) -> bytes:
    port.sendall(
        wire.encode(
            Frame(wire.OPEN, 1, 0, wire.encode_json({"op": "exec", "argv": ["sh", "-c", f"cat > {path}"]}))
        )
    )
    return wire.encode(Frame(wire.DATA, 1, 0, b"A" * 65536))


@pytest.mark.parametrize("cut", [0, 1, 3, 8, 11, 12, 13, 100, 30_000, 65547, 65548, 65549])
def test_hello_is_found_after_a_frame_cut_anywhere(port: socket.socket, tmp_path: Path, cut: int) -> None:
    greet(port)
    frame = open_cat(port, tmp_path / "got")
    port.sendall(frame[:cut])
    assert call(port, wire.Parser(), 1, ["echo", "hi"]) == b"hi\n" if not greet(port) else False
    got = (tmp_path / "got").read_bytes() if (tmp_path / "got").exists() else b""
    assert got in (b"", b"A" * 65536), "the filling after the cut must never reach a process"


def test_a_hello_in_user_data_means_nothing(port: socket.socket, tmp_path: Path) -> None:
    parser = wire.Parser()
    parser.feed(greet(port))
    port.sendall(wire.encode(Frame(wire.OPEN, 1, 0, b'{"op":"exec","argv":["wc","-c"]}')))
    data = wire.hello(b"N" * 16)
    for frame in (*wire.split_data(1, 0, data), Frame(wire.EOF, 1, 0)):
        port.sendall(wire.encode(frame))
    output = b""
    while True:
        for frame in parser.feed(port.recv(65536)):
            output += frame.payload if frame.type == wire.DATA else b""
            if frame.type == wire.EXIT:
                assert output.strip() == b"%d" % len(data)
                return


def test_a_cut_inside_the_cut(port: socket.socket) -> None:
    """Daemons that die one after the other, inside preamble and HELLO too."""
    greet(port)
    greeting = wire.hello(secrets.token_bytes(16))
    for cut in (10, 65_600, 65_605, 65_612, 65_628, 65_640, 65_652, len(greeting) - 1):
        port.sendall(greeting[:cut])
    assert call(port, wire.Parser(), 1, ["echo", "hi"]) == b"hi\n" if not greet(port) else False


def test_a_cut_while_the_guest_sends(port: socket.socket) -> None:
    """Nobody reads 1 MiB of output; the next host finds the answer behind what was queued."""
    greet(port)
    port.sendall(
        wire.encode(Frame(wire.OPEN, 1, 0, b'{"op":"exec","argv":["head","-c","1048576","/dev/zero"]}'))
    )
    port.recv(5000)
    parser = wire.Parser()
    parser.feed(greet(port))
    assert call(port, parser, 1, ["echo", "hi"]) == b"hi\n"


def test_garbage_ends_the_session_only(port: socket.socket) -> None:
    greet(port)
    port.sendall(os.urandom(200_000))
    parser = wire.Parser()
    parser.feed(greet(port))
    assert call(port, parser, 1, ["echo", "hi"]) == b"hi\n"


async def test_a_host_killed_again_and_again_inside_its_frames(listening_agent: Path) -> None:
    for number in range(20):
        channel = await GuestChannel.connect(listening_agent, timeout=10)
        await channel.open("exec", argv=["head", "-c", "1048576", "/dev/zero"])
        stream = await channel.open("exec", argv=["sh", "-c", "cat > /dev/null"])
        raw = wire.encode(Frame(wire.DATA, stream.id, 0, bytes(65536)))
        channel._writer.write(raw * 2 + raw[: number * 3000])
        await channel.close()
    channel = await GuestChannel.connect(listening_agent, timeout=10)
    assert (await run(channel, "echo", "hi")).stdout == b"hi\n"
    await channel.close()
