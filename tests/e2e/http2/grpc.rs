//! gRPC through the proxy, with gRPC's own client and server: calls of every shape, errors, deadlines, and the proxy's own answers.

use tidegate_tests::{Origin, Proxy, Server, listener, pool, python};

const SERVER: &str = r#"
import grpc, time
from concurrent import futures
from serving import say

def upper(request, context):
    if request == b"fail":
        context.set_trailing_metadata([("x-why", "because")])
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "it failed: 100 %")
    if request == b"slow":
        say("left", round(context.time_remaining()))
        while context.is_active(): time.sleep(0.05)
        say("cancelled")
    return request.upper()

def count(request, context):
    for n in range(int(request)): yield str(n).encode()

def total(requests, context):
    return str(sum(len(r) for r in requests)).encode()

def echo(requests, context):
    for request in requests: yield request

methods = {
    "Upper": grpc.unary_unary_rpc_method_handler(upper),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
}
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t.T", methods)])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(port)
server.wait_for_termination()
"#;

const CLIENT: &str = r#"
import sys, time, threading, grpc
channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)])
upper = channel.unary_unary("/t.T/Upper")
count = channel.unary_stream("/t.T/Count")
total = channel.stream_unary("/t.T/Total")
echo = channel.stream_stream("/t.T/Echo")
missing = channel.unary_unary("/t.T/Missing")
def failed(call):
    try: return call()
    except grpc.RpcError as e: return (e.code().name, e.details(), dict(e.trailing_metadata() or ()))
"#;

fn call(address: std::net::SocketAddr, script: &str) -> String {
    python(&(CLIENT.to_owned() + script), &[&address.to_string()])
}

fn proxy(server: &Server) -> Proxy {
    Proxy::start(format!(
        "{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nservers = [{{ address = \"{}\" }}]\n",
        listener("web", "pool = \"app\""),
        server.address()
    ))
}

#[test]
fn calls_of_every_shape() {
    let server = Server::start(SERVER);
    let proxy = proxy(&server);
    let said = call(
        proxy.address("web"),
        r#"
print(upper(b"hello"))
print(b"".join(count(b"10")))
print(total(iter([b"x" * 1000] * 500)))
# A word at a time: each answer is awaited before the next question.
asked = threading.Semaphore(1)
def questions():
    for n in range(20):
        asked.acquire()
        yield str(n).encode()
said = []
for answer in echo(questions()):
    said.append(answer)
    asked.release()
print(b" ".join(said))
print(len(upper(b"a" * 3_000_000)))
"#,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "b'HELLO'");
    assert_eq!(lines[1], "b'0123456789'");
    assert_eq!(lines[2], "b'500000'");
    assert!(lines[3].ends_with(" 18 19'"), "{said}");
    assert_eq!(lines[4], "3000000");
    let logged = proxy.logged("/t.T/Upper");
    assert_eq!(
        (&logged["status"], &logged["termination"]),
        (&200.into(), &"--".into())
    );
}

#[test]
fn errors_and_trailers_pass() {
    let server = Server::start(SERVER);
    let proxy = proxy(&server);
    let said = call(
        proxy.address("web"),
        "print(failed(lambda: upper(b'fail')))\nprint(failed(lambda: missing(b''))[0])",
    );
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("('INVALID_ARGUMENT', 'it failed: 100 %', {'x-why': 'because'"),
        "{}",
        lines[0]
    );
    assert!(!lines[0].contains("content-length"), "{}", lines[0]);
    assert_eq!(lines[1], "UNIMPLEMENTED");
}

/// A server that is about to go refuses calls unseen: the client hears nothing of it.
#[test]
fn what_one_server_refuses_another_answers() {
    let server = Server::start(SERVER);
    let refusing = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def began(self, stream, request): self.h2.reset_stream(stream, 7), say('refused')\n    \
             def ended(self, stream, request): pass\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nbalancer = \"round-robin\"\nservers = [{{ address = \"{}\" }}, {{ address = \"{}\" }}]\n",
        listener("web", "pool = \"app\""),
        refusing.address(),
        server.address()
    ));
    let said = call(
        proxy.address("web"),
        "print(b' '.join(upper(b'hello') for _ in range(4)), total(iter([b'x' * 1000] * 5)), total(iter([b'y'])))",
    );
    assert_eq!(said, "b'HELLO HELLO HELLO HELLO' b'5000' b'1'\n");
    assert!(!refusing.lines().is_empty());
}

#[test]
fn deadlines_pass_and_what_is_cancelled_ends() {
    let server = Server::start(SERVER);
    let proxy = proxy(&server);
    let said = call(
        proxy.address("web"),
        "print(failed(lambda: upper(b'slow', timeout=2))[0])\n\
         f = upper.future(b'slow', timeout=60)\ntime.sleep(0.5)\nf.cancel()\nprint(upper(b'after'))",
    );
    assert_eq!(said, "DEADLINE_EXCEEDED\nb'AFTER'\n");
    tidegate_tests::wait_until("the server hears of both ends", || {
        let lines = server.lines();
        lines.iter().filter(|line| *line == "cancelled").count() == 2
            && lines.iter().any(|line| line == "left 2")
            && lines.iter().any(|line| line == "left 60")
    });
}

#[test]
fn our_own_answers_are_grpcs() {
    let origin = Origin::named("a");
    let config = listener("web", "router = \"router\"\nfilters = [\"deny\"]")
        + "\n[[plugin]]\nname = \"deny\"\nshipped = \"respond\"\nconfig = { path = \"/t.T/Total\", status = 401, body = \"Who are you?\\n\" }\n"
        + "\n[[route]]\npath = \"/t.T/Upper\"\npool = \"down\"\n"
        + "\n[[route]]\npath = \"/t.T/Count\"\npool = \"odd\"\n"
        + "\n[[pool]]\nname = \"down\"\nservers = [{ address = \"127.0.0.1:1\" }]\n"
        + &pool("odd", "http = \"h2\"", &[&origin]);
    let proxy = Proxy::start(config);
    let said = call(
        proxy.address("web"),
        "print(failed(lambda: upper(b''))[:2])\nprint(failed(lambda: list(count(b'')))[:2])\nprint(failed(lambda: missing(b''))[:2])\n\
         print(failed(lambda: total(iter([b''])))[:2])",
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[0],
        "('UNAVAILABLE', 'The server could not be reached.')"
    );
    assert_eq!(
        lines[1],
        "('UNAVAILABLE', \"The server's answer could not be understood.\")"
    );
    assert_eq!(
        lines[2],
        "('UNIMPLEMENTED', 'Nothing is served at this address.')"
    );
    assert_eq!(lines[3], "('UNAUTHENTICATED', 'Who are you?')");
    assert_eq!(proxy.logged("/t.T/Upper")["fault"], "connect-failed");
}
