"""A server of HTTP/2, on a port that it prints first. How it behaves is what a test makes of `Connection`."""

import socket
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings


class Connection:
    settings = {}

    def __init__(self, number, sock):
        self.number, self.socket, self.requests, self.bodies = number, sock, {}, {}
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=self.settings)
        self.lock = threading.RLock()

    def run(self):
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := self.socket.recv(65536):
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.event(event)
                    self.flush()
        except OSError:
            pass
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def event(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.RequestReceived):
            self.requests[stream] = dict(event.headers)
            self.bodies[stream] = b""
            self.began(stream, self.requests[stream])
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[stream] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.StreamReset):
            say("reset", self.requests.get(stream, {}).get(":path"))
        elif isinstance(event, h2.events.StreamEnded):
            self.ended(stream, self.requests[stream])

    def began(self, stream, request):
        pass

    def ended(self, stream, request):
        self.answer(stream, f"{self.number}".encode())

    def later(self, seconds, what):
        """Does something in a while, unless the connection is gone by then."""

        def run():
            with self.lock:
                what()
                self.flush()

        threading.Timer(seconds, run).start()

    def answer(self, stream, body, fields=()):
        self.h2.send_headers(stream, [(":status", "200"), *fields])
        self.h2.send_data(stream, body, end_stream=True)


lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


def serve(kind):
    listener = socket.create_server(("127.0.0.1", 0))
    say(listener.getsockname()[1])
    number = 0
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number += 1
        threading.Thread(target=kind(number, sock).run, daemon=True).start()
