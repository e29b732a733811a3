"""A Flask application with sessions, which tells who it is and how often this visitor was here.

Sessions are kept in this process, or in a Redis server whose port is given."""

import json
import uuid

import redis
from flask import Flask, session
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.serving import make_server


class Visit(dict, SessionMixin):
    id = None


class InMemory:
    def __init__(self):
        self.kept = {}

    def load(self, id):
        return self.kept.get(id)

    def save(self, id, values):
        self.kept[id] = values


class InRedis:
    def __init__(self, port):
        self.server = redis.Redis(port=port)

    def load(self, id):
        text = self.server.get("session:" + id)
        return text and json.loads(text)

    def save(self, id, values):
        self.server.set("session:" + id, json.dumps(values))


class Sessions(SessionInterface):
    def __init__(self, store):
        self.store = store

    def open_session(self, app, request):
        id = request.cookies.get("SID")
        values = self.store.load(id) if id else None
        visit = Visit(values or {})
        # Another's session id is not taken over.
        visit.id = id if values is not None else uuid.uuid4().hex
        return visit

    def save_session(self, app, visit, response):
        self.store.save(visit.id, dict(visit))
        response.set_cookie("SID", visit.id, httponly=True)


def serve(name, port=None):
    app = Flask(name)
    app.session_interface = Sessions(InRedis(port) if port else InMemory())

    @app.route("/")
    def visit():
        session["visits"] = session.get("visits", 0) + 1
        return f"{name} {session['visits']}"

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port)
    server.serve_forever()
