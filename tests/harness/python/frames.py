"""A client of HTTP/2 that sends whatever a test wants sent: frames by themselves, well-formed or not."""

import socket
import sys

import hpack
from hyperframe import frame as frames

# Bytes of a frame's payload.
LARGEST = 16384

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


class Answer:
    """What has come on one stream."""

    def __init__(self):
        self.heads, self.data, self.ended, self.reset = [], b"", False, None

    @property
    def status(self):
        final = [dict(head)[":status"] for head in self.heads if ":status" in dict(head)]
        return final[-1] if final else None

    def field(self, name):
        return next((value for head in self.heads for key, value in head if key == name), None)

    @property
    def over(self):
        return self.ended or self.reset is not None

    def __str__(self):
        if self.reset is not None and not self.ended:
            return f"reset {self.reset}"
        return f"{self.status} {self.data.decode(errors='replace').strip()}"


class Client:
    def __init__(self, where, settings=None, window=None, patience=20):
        self.socket = socket.create_connection(address(where), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.answers, self.goaway, self.closed, self.have = {}, None, False, b""
        self.settings, self.pongs, self.acks, self.last = {}, 0, 0, None
        self.window = window
        first = frames.SettingsFrame(0, settings=settings or {})
        self.socket.sendall(PREFACE + first.serialize())

    def send(self, *sent):
        """Frames, or bytes; False: the peer is gone."""
        data = b"".join(f if isinstance(f, bytes) else f.serialize() for f in sent)
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def headers(self, stream, fields, end=True, whole=True):
        block = self.encoder.encode(fields, huffman=False)
        first = frames.HeadersFrame(stream, data=block[:LARGEST])
        if end:
            first.flags.add("END_STREAM")
        rest = range(LARGEST, len(block), LARGEST)
        all = [first] + [frames.ContinuationFrame(stream, data=block[at : at + LARGEST]) for at in rest]
        if whole:
            all[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in all)

    def request(self, stream, method="GET", path="/", authority="h", fields=(), end=True):
        head = [(":method", method), (":scheme", "http"), (":path", path)]
        head += [(":authority", authority)] if authority is not None else []
        self.send(self.headers(stream, head + list(fields), end))

    def data(self, stream, body, end=True):
        all = [frames.DataFrame(stream, data=body[at : at + LARGEST]) for at in range(0, max(len(body), 1), LARGEST)]
        if end:
            all[-1].flags.add("END_STREAM")
        self.send(*all)

    def answer(self, stream):
        return self.answers.setdefault(stream, Answer())

    def until(self, done):
        """Reads until that holds, or the peer has closed."""
        while not done() and not self.closed:
            self.read()

    def whole(self, stream):
        self.until(lambda: self.answer(stream).over)
        answer = self.answer(stream)
        return answer if answer.over else "closed" if self.goaway is None else f"goaway {self.goaway}"

    def read(self):
        try:
            more = self.socket.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            self.closed = True
        self.have += more
        while len(self.have) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self.have[:9]))
            if len(self.have) < 9 + length:
                return
            frame.parse_body(memoryview(self.have[9 : 9 + length]))
            self.have = self.have[9 + length :]
            self.take(frame)

    def take(self, frame):
        answer = self.answer(frame.stream_id)
        if isinstance(frame, frames.HeadersFrame):
            answer.heads.append([(k, v) for k, v in self.decoder.decode(frame.data)])
        elif isinstance(frame, frames.DataFrame):
            answer.data += frame.data
            if self.window is None and frame.flow_controlled_length:
                grown = [frames.WindowUpdateFrame(s, window_increment=frame.flow_controlled_length) for s in (0, frame.stream_id)]
                self.send(*grown)
        elif isinstance(frame, frames.RstStreamFrame):
            answer.reset = frame.error_code
        elif isinstance(frame, frames.GoAwayFrame):
            self.goaway, self.last = frame.error_code, frame.last_stream_id
        elif isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:
            self.send(frames.PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, frames.PingFrame):
            self.pongs += 1
        elif isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self.settings.update(frame.settings)
            self.send(frames.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, frames.SettingsFrame):
            self.acks += 1
        if "END_STREAM" in frame.flags and frame.stream_id:
            answer.ended = True


def say(*words):
    print(*words)
    sys.stdout.flush()
