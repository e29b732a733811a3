//! The file as typed: every key, its type and range, its default, and what it means. The JSON Schema is made of this text,
//! and the README's reference names each of these keys (a test compares them). Keys of what no code serves yet are left
//! out, so that they are refused rather than silently without effect.

use super::address::{Address, Bind, DnsServer, Host};
use super::checked::{
    AccessField, AccessFormat, AccessTarget, ClientAuth, Coding, Family, HttpVersion, Mode,
    Network, OnFailure, OnMarkedDown, ProbeKind, ProxyIn, ProxyOut, TlsVersion, TraceEndpoint,
    ValueMatch, WhenFull,
};
use super::choice::{LogLevel, MediaRange};
use super::edge::{ListenerBind, SocketPath, UnixMode};
use super::logging::HeaderField;
use super::probing::{FailureKind, Percent, ProbePath, Regex, RetryKind, StatusRange};
use super::problem::Located;
use super::shared::{KeyPrefix, RedisUrl};
use super::table::table;
use super::text::Text;
use super::tls::Certificate;
use super::traces::Share;
use super::unit::{
    DAY, GIB, HOUR, KIB, MICROSECOND, MILLISECOND, MINUTE, Number, SECOND, Size, Span,
};
use super::value::{Map, Name, OneOrMany, PluginName, Sections, Settings};
use super::word::{Grant, Method, Path, Sha256, Token};

/// A list.
pub(super) type List<T> = Vec<Located<T>>;

table! {
    /// The configuration of a tidegate proxy.
    File as "the file" {
        /// The process as a whole.
        proxy: Proxy, default({});
        /// Dashboard, JSON API, /metrics and /healthz. Without this section there are none.
        admin: Admin, optional;
        /// What is logged, where, and how.
        log: Log, default({});
        /// Traces of requests, by OpenTelemetry. Without this section requests are not traced, and what they say of a trace passes unchanged.
        tracing: Tracing, optional;
        /// How names of servers are resolved.
        dns: Dns, default({});
        /// State that several proxies share. Without it each proxy has its own.
        state: State, optional;
        /// Plugins of your own, and shipped ones under other settings. A shipped plugin is used by its name alone without any section.
        plugin: Sections<Plugin>, default([]);
        /// Addresses to listen on, and where requests go from there. At least one.
        listener: Sections<Listener>, optional;
        /// What the shipped `router` plugin goes by: the most specific route wins, then the first.
        route: Sections<Route>, default([]);
        /// Servers that answer the same requests, and how one of them is chosen.
        pool: Sections<Pool>, default([]);
    }
}

table! {
    /// The process as a whole.
    Proxy as "[proxy]" {
        /// Worker threads, each with connections of its own. 0: one for each core that the process may use, by CPU affinity and cgroup quota. The only setting that waits for a restart, as HAProxy's `nbthread` does; nginx's `worker_processes`.
        workers: Number<0, 1024>, default(0);
        /// How long a retired listener, server or process waits for what is in flight; then it is cut off, `cut` in the access log. HAProxy's `hard-stop-after`, nginx's `worker_shutdown_timeout`.
        drain_timeout: Span<0, DAY>, default("30s");
        /// Reload by itself when this file or a plugin's file changes.
        watch: bool, default(false);
        /// Networks whose Forwarded, X-Forwarded-*, X-Client-Cert-* and PROXY lines are believed; from all others they are dropped. CIDR, or an address alone. nginx's `set_real_ip_from`.
        trusted_proxies: List<Network>, default([]);
        /// Bytes of request bodies that are kept for another attempt, `retry-body`, of all requests together; a body for which there is no room is sent as it comes and not repeated, counted in `tidegate_retry_bodies_refused_total`.
        retry_bodies: Size<0, { 64 * GIB }>, default("64MiB");
    }
}

table! {
    /// Dashboard, JSON API, /metrics and /healthz.
    Admin as "[admin]" {
        /// Where it listens. Port 0 lets the system choose one.
        bind: Bind, default("127.0.0.1:9901");
        /// What changes must carry as `Authorization: Bearer TOKEN`. Without it the port is read-only; it is required when `bind` is no loopback address, and then for reading too.
        token: Token, optional;
        /// A Unix socket's file, made with mode 0600: whoever may open it may change everything, without the token. It takes runtime commands in HAProxy's words, and the HTTP of `bind` for `tidegate ctl --admin unix:PATH`. A relative path starts at this file's folder; a file where nobody listens is replaced, one where somebody does never. HAProxy's `stats socket`.
        socket: SocketPath, optional;
    }
}

table! {
    /// What is logged, where, and how. All of it changes with a reload.
    Log as "[log]" {
        /// The least severe level that is logged; after commas other levels for parts of the program. `TIDEGATE_LOG` in the environment overrules it.
        level: LogLevel, default("info");
        /// Where the access log goes; a relative path starts at this file's folder. nginx's `access_log`.
        access: AccessTarget, default("stdout");
        /// The access log's lines: json, combined (Apache's and nginx's), or httplog (HAProxy's).
        format: AccessFormat, default("json");
        /// What a line of the JSON format holds, by key and in this order. Absent: all that there is to tell, in the order of the table below "Access log". nginx's and HAProxy's `log-format`.
        fields: List<AccessField>, optional;
        /// Headers of requests that lines hold, as the client sent them, whatever filters make of them; of several occurrences the last. 16 at most. HAProxy's `capture request header`, nginx's `$http_NAME`.
        request_headers: List<HeaderField>, default([]);
        /// Headers of responses that lines hold, as the server sent them, before filters; 16 at most. The proxy's own answers have none. HAProxy's `capture response header`, nginx's `$upstream_http_NAME`.
        response_headers: List<HeaderField>, default([]);
        /// Bytes of such a header's value that a line holds; the rest is cut off. HAProxy's `len`.
        header_length: Size<1, KIB>, default("128B");
        /// Whether headers that hold credentials may be among them: Authorization, Proxy-Authorization, Cookie and Set-Cookie. Whoever reads the log can use them then.
        credentials: bool, default(false);
    }
}

table! {
    /// Traces of requests, by OpenTelemetry: a span of each sampled request and one of its call to a server, exported as OTLP over HTTP in JSON. Servers get a `traceparent` (W3C Trace Context) with the call's span as their parent. All of it changes with a reload. Traefik's `tracing.otlp`, nginx's `otel_exporter`.
    Tracing as "[tracing]" {
        /// Where a collector takes traces: `http://` or `https://`, with the path. A name is resolved by the system each time that a connection is made.
        endpoint: TraceEndpoint, required;
        /// The share of requests that is traced, from 0 to 1, by trace id: proxies with the same share trace the same requests. nginx's `otel_trace` by `split_clients`.
        sample: Share, default(1.0);
        /// Whether the flag of a `traceparent` that comes with a request decides instead of `sample`. With `false` clients can't have their requests traced by saying so.
        parent_based: bool, default(true);
        /// What traces call this proxy.
        service_name: Text, default("tidegate");
        /// Headers that the collector wants, such as `authorization`; none is ever shown.
        headers: Map<Text>, default({});
        /// For `https://`, the certificates (PEM) that the collector's must be signed by; a relative path starts at this file's folder. Absent: the system's.
        ca: Text, optional;
        /// How long one export may take. One that fails is made again, five times in all with growing pauses, or as the collector's Retry-After says; then its spans are dropped.
        timeout: Span<{ 10 * MILLISECOND }, MINUTE>, default("10s");
        /// Spans that may wait for the collector, 16 MiB of them at most; further ones are dropped, and counted in `tidegate_trace_spans_dropped_total`.
        queue: Number<2, 1_000_000>, default(2048);
    }
}

table! {
    /// How names of servers are resolved: again as the TTL of each answer ends, off the request path, with /etc/hosts before DNS. HAProxy's `resolvers`, nginx's `resolver`.
    Dns as "[dns]" {
        /// Who is asked: addresses, with a port where that is not 53. Empty: those of /etc/resolv.conf. HAProxy's `nameserver`.
        servers: List<DnsServer>, default([]);
        /// How long one try may take; it is made twice. HAProxy's `timeout retry`, nginx's `resolver_timeout`.
        timeout: Span<{ 10 * MILLISECOND }, MINUTE>, default("2s");
        /// The shortest time from an answer to the next question, whatever its TTL; after a failure it doubles up to 10 s.
        min_ttl: Span<{ 10 * MILLISECOND }, HOUR>, default("1s");
        /// The longest. nginx's `valid`, HAProxy's `hold valid`.
        max_ttl: Span<{ 10 * MILLISECOND }, DAY>, default("5m");
        /// How long the servers of a name stay after DNS began to say that it does not exist, or has no address. HAProxy's `hold nx`.
        hold_missing: Span<0, DAY>, default("30s");
        /// The same while DNS gives no answer, or an error. Absent: for as long as that lasts, as in nginx. HAProxy's `hold timeout`, `hold refused` and `hold other`.
        hold_failing: Span<0, DAY>, optional;
        /// How long a start, and a change that brings new names, waits for first answers. A name that has none by then has no server until it has one. HAProxy's `init-addr`.
        wait: Span<0, MINUTE>, default("5s");
        /// Which addresses of a host become servers: ipv4-first (IPv6 only where there is no IPv4, so that a host with both counts once), ipv6-first, ipv4, ipv6 or both. HAProxy's `resolve-prefer`, nginx's `ipv6=off`.
        family: Family, default("ipv4-first");
    }
}

table! {
    /// State that several proxies share: rate limits, sticky tables, and what plugins keep in `shared-store`. The proxies must be given the same plugins, pools and servers by the same names. HAProxy's `peers`, over a Redis server.
    State as "[state]" {
        /// The server: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS; characters such as `@` in a password are percent-encoded. It needs EVAL, GET, SET, PTTL, PEXPIRE, INCRBY, DEL, TIME and PING. A server that can't be reached, or refuses the password, is told in the log and in `tidegate_state_breaker_open`, and the proxy goes on alone.
        redis: RedisUrl, required;
        /// For `rediss://`, the certificates (PEM) that the server's must be signed by; a relative path starts at this file's folder. Absent: the system's.
        ca: Text, optional;
        /// What keys in Redis begin with: proxies that share a Redis server, and not their state, need another one each. 1 to 64 bytes.
        prefix: KeyPrefix, default("tidegate:");
        /// How long a request waits at most for a look-up, which it makes where its own proxy doesn't know a user; then it goes on as if nobody knew him. After 3 failures in a row no request asks, until Redis answers again.
        timeout: Span<MILLISECOND, SECOND>, default("20ms");
        /// How often what was drawn from rate limits here is told, and what others drew comes back. Together the proxies let through a limit's rate, and at first as much as a burst and this time's worth for each further proxy; what was too much is paid back.
        settle: Span<{ 10 * MILLISECOND }, { 10 * SECOND }>, default("50ms");
        /// Writes that may wait for Redis, 8 MiB of them at most; further ones are dropped, and counted in `tidegate_state_writes_total`.
        queue: Number<1, 1_000_000>, default(10_000);
    }
}

table! {
    /// A plugin of your own, or a shipped one under other settings.
    Plugin as "[[plugin]]" {
        /// How the file, metrics and the admin API call it. It hides a shipped plugin of that name.
        name: Name, required;
        /// The component or core module (.wasm); a relative path starts at this file's folder. This or `shipped`.
        path: Text, optional;
        /// The name of a plugin that the binary carries. This or `path`.
        shipped: Text, optional;
        /// The hash that the file at `path` must have. Absent: any.
        sha256: Sha256, optional;
        /// The plugin's settings: any table; it gets them as JSON.
        config: Settings, default({});
        /// What a failed call answers: reject (503) or fallback. Absent: as is safe for the role. Filters and connect plugins reject, a router falls back to the listener's pool, a balancer to round robin.
        on_failure: OnFailure, optional;
        /// CPU time that one call may take. A call beyond it fails.
        cpu_limit: Span<{ 100 * MICROSECOND }, SECOND>, default("2ms");
        /// Memory of one instance. Each worker has one instance.
        memory: Size<{ 64 * KIB }, GIB>, default("16MiB");
        /// What it may do beyond answering: "fetch:POOL" lets it call that pool. Nothing unless granted.
        grants: List<Grant>, default([]);
    }
}

table! {
    /// Addresses to listen on, and where requests go from there.
    Listener as "[[listener]]" {
        /// How the file, logs and metrics call it.
        name: Name, required;
        /// Where it listens: an IP address and port, "unix:PATH", or a list of them. Port 0 lets the system choose one; a relative path starts at this file's folder. A Unix socket's file is replaced when nobody listens at it, and removed with the listener; its clients are known as 127.0.0.1 without a port. HAProxy's `bind`, nginx's `listen`.
        bind: OneOrMany<ListenerBind>, required;
        /// Permissions of the files of its Unix sockets, in octal. HAProxy's `bind … mode`.
        unix_mode: UnixMode, default("0660");
        /// What its connections are: http, or tcp, which is passed on as it comes to a server of `pool`, or of the pool that a plugin in `connect` chooses. What comes in bulk between two sockets without TLS the kernel moves itself, as with HAProxy's `option splice-auto`. HAProxy's `mode`, nginx's `stream`.
        mode: Mode, default("http");
        /// Whether connections begin with a line of the PROXY protocol, version 1 or 2: off, or require. The address in it is the client's everywhere. It must come within `timeouts.request-head`, and from `trusted-proxies`; else the connection is reset, `proxy-timeout`, `proxy-malformed` or `proxy-untrusted`. HAProxy's `accept-proxy`, nginx's `proxy_protocol`.
        proxy_protocol: ProxyIn, default("off");
        /// In tcp mode: the client's TLS hello is read for its server name and protocols, which plugins and servers' PROXY lines then have, and is passed on; TLS does not end here. It must come within `timeouts.request-head`, else `tls-hello-timeout`; what is no TLS is reset, `tls-hello-malformed`. HAProxy's `req.ssl_sni`, nginx's `ssl_preread`.
        tls_passthrough: bool, default(false);
        /// Plugins that are asked about each connection, in this order, before its first request: each may accept, refuse (a reset, `connection-refused`) or, in tcp mode, choose the pool. A failed call refuses too, `connect-plugin-failed`, unless the plugin has `on-failure = "fallback"`. HAProxy's `tcp-request connection`.
        connect: List<PluginName>, default([]);
        /// Filter plugins that see every request before its route is known, in this order; responses pass them in reverse.
        filters: List<PluginName>, default([]);
        /// The plugin that chooses route and pool. Absent: the shipped `router` when there is a [[route]], else none.
        router: PluginName, optional;
        /// The [[pool]] where requests go that no route takes; without it they get a 404. Needed when the listener has no router and no filter. HAProxy's `default_backend`.
        pool: Text, optional;
        /// What becomes of a request whose client has closed its sending side while it waits for the answer: true ends it, `client-closed`; false answers it, as a client that has said all it has to say may expect. In tcp mode the same of a connection while it waits for a server. HAProxy's `option abortonclose`, the opposite of nginx's `proxy_ignore_client_abort`.
        abort_on_close: bool, default(false);
        /// Client connections at once, over all its addresses; whoever comes then waits in the kernel's queue until one ends, `max-connections` in the log. Absent: what the limit of open files allows, two files a connection, which bounds all listeners together too. HAProxy's `maxconn`, nginx's `worker_connections`.
        max_connections: Number<1, 10_000_000>, optional;
        /// Of these the connections of one client, which is an IPv4 address or an IPv6 network of 64 bits; a further one is reset as it comes, `max-connections-per-client` in the log. Those of `trusted-proxies` have no such bound. 0: none, as in both peers. nginx's `limit_conn`.
        max_connections_per_client: Number<0, 10_000_000>, default(0);
        // A name in it has a length of 16 bits: no more than 64 KiB.
        /// What a request's head may be, request line and fields together; a larger one gets 431, `request-head-too-large`. nginx's `large_client_header_buffers`, which are 4 of 8 KiB; HAProxy's `tune.bufsize`.
        max_head: Size<KIB, { 64 * KIB }>, default("32KiB");
        /// Bytes a second that a client must keep on average while it is waited for: to send a request's body, else 408, `request-body-too-slow`, or to take a response, else the connection is cut, `response-too-slow`. Time in which others are slow does not count, and a response is taken when the client's system acknowledges it. "0B": none, as in HAProxy and nginx, which have no such bound. Apache's `RequestReadTimeout … MinRate`, Kestrel's `MinRequestBodyDataRate`.
        min_body_rate: Size<0, GIB>, default("0B");
        /// Bytes of a request's body. A longer one gets 413, `request-body-too-large`: at once where its Content-Length says so, else as it streams, and what a server has got of it is cut off. "0B": no bound. nginx's `client_max_body_size`.
        max_body: Size<0, { 1024 * GIB }>, default("0B");
        /// Compresses answers for clients that accept it. Absent: no answer is touched. HAProxy's `filter compression`, nginx's `gzip on`.
        compression: Compression, optional;
        /// Pages for the errors that the proxy itself answers with, never a server's or a plugin's: a file by status, "503", or by class, "5xx"; the status itself goes first. Read at load, 1 MiB at most; a relative path starts at this file's folder, and the name's ending tells the type (html, txt, json, xml, svg). HAProxy's `errorfile`, nginx's `error_page`.
        error_pages: Map<Text>, default({});
        /// What a client of HTTP/2 is granted, in clear text as over TLS.
        http2: Http2, default({});
        /// Bounds on how long a client may take.
        timeouts: ListenerTimeouts, default({});
        /// Clients speak TLS to it. Absent: they don't. HAProxy's `ssl` of `bind`, nginx's `listen … ssl`.
        tls: ListenerTls, optional;
    }
}

table! {
    /// TLS towards clients, versions 1.2 and 1.3. Sessions are resumed by tickets that all workers share and whose key changes every six hours; one is taken only where the same is asked of clients' certificates. A changed file is noticed within seconds, without a reload; a broken one leaves what was, with an error in the log and `tidegate_tls_reload_failures_total`. An OCSP response beside a certificate, `site.pem.ocsp` for `site.pem`, is stapled. Plain HTTP gets 400, `plain-http`; a handshake that fails is `tls-handshake-failed`.
    ListenerTls as "a listener's tls" {
        /// Each is a PEM file with chain and private key together (or with the key beside it, `site.key` for `site.pem`), `{ cert = "…", key = "…" }` with the two apart, or a folder of such PEM files, in which hidden files and those that end in .key, .ocsp, .issuer or .sctl are passed over. A relative path starts at this file's folder. A client gets the one that bears the name it asks for, "*.example.com" standing for one label; of several for one name ECDSA comes before RSA where it can take that; when no name fits, the first. HAProxy's `crt`, nginx's `ssl_certificate` and `ssl_certificate_key`.
        certificates: OneOrMany<Certificate>, required;
        /// A client that names no known name is refused, rather than given the first certificate. HAProxy's `strict-sni`, nginx's `ssl_reject_handshake`.
        strict_sni: bool, default(false);
        /// The oldest version of TLS that is spoken. HAProxy's `ssl-min-ver`, nginx's `ssl_protocols`.
        min_version: TlsVersion, default("1.2");
        /// Whether clients are asked for a certificate: off, optional (one that is sent must be good), or required. Plugins are told its subject (RFC 4514, in ASCII) and SHA-256 fingerprint. HAProxy's `verify none|optional|required`, nginx's `ssl_verify_client`.
        client_auth: ClientAuth, default("off");
        /// A PEM file with the authorities that clients' certificates must come from. Needed unless `client-auth` is off. HAProxy's `ca-file`, nginx's `ssl_client_certificate`.
        client_ca: Text, optional;
        /// PEM files with lists of certificates that their authorities have revoked (CRL); a client with one of these is refused, and a changed list holds from the next handshake, resumed sessions included. There must be one of every authority between the client and the root, and none may be past its next update: else whom it should tell of is refused too. HAProxy's `crl-file`, nginx's `ssl_crl`.
        client_crl: OneOrMany<Text>, optional;
        /// Tells servers of a client's certificate, in `x-client-cert-subject` (RFC 4514, in ASCII) and `x-client-cert-fingerprint` (SHA-256, 64 hexadecimal digits); neither is there when the client sent none. Whatever this says, fields of such names are dropped from all but trusted proxies.
        client_cert_headers: bool, default(false);
    }
}

table! {
    /// A certificate whose chain and key are in files of their own.
    KeyPair as "a certificate" {
        /// The PEM file with the certificate, and those of the authorities between it and the root.
        cert: Text, required;
        /// The PEM file with the private key: PKCS#8, PKCS#1 or SEC1, without a passphrase.
        key: Text, required;
    }
}

table! {
    /// What a client of HTTP/2 is granted.
    Http2 as "a listener's http2" {
        /// Whether HTTP/2 is spoken: where TLS's ALPN chooses it, and in clear text with clients that begin with it. Without it such a client gets 505, `bad-version`. nginx's `http2`, HAProxy's `alpn` and `proto`.
        enabled: bool, default(true);
        /// Streams at a time on one connection; a further one is refused, and may be sent again. HAProxy's `tune.h2.fe.max-concurrent-streams`, nginx's `http2_max_concurrent_streams`.
        max_concurrent_streams: Number<1, 10_000>, default(100);
        /// Bytes of a request's body that may wait for a server on each stream; no stream gets more until they have been taken. HAProxy's `tune.h2.fe.initial-window-size`, nginx's `http2_body_preread_size`.
        initial_window: Size<{ 16 * KIB }, { 16 * 1024 * KIB }>, default("64KiB");
    }
}

table! {
    /// Bounds on how long a client may take.
    ListenerTimeouts as "a listener's timeouts" {
        /// From accept to the end of the TLS handshake; then the connection is closed, `tls-handshake-timeout`, or without a word when no byte has come. HAProxy's `timeout client`, which holds until the handshake ends, nginx's `client_header_timeout`.
        handshake: Span<MILLISECOND, HOUR>, default("10s");
        /// From accept, or from a request's first byte, to the end of its head; then 408, `request-head-timeout`. A connection on which no byte has come is closed without a word. HAProxy's `timeout http-request`, nginx's `client_header_timeout`.
        request_head: Span<MILLISECOND, HOUR>, default("10s");
        /// Between two requests on a kept connection; then it is closed without a word. HAProxy's `timeout http-keep-alive`, nginx's `keepalive_timeout`.
        idle: Span<MILLISECOND, DAY>, default("60s");
        /// How long a client may send nothing of a request's body, or take nothing of a response; then 408, `request-body-timeout`, or the connection is closed, `client-stalled`. HAProxy's `timeout client`, nginx's `client_body_timeout` and `send_timeout`.
        body: Span<MILLISECOND, DAY>, default("30s");
        /// How long a client may be waited for, within one body, before `min-body-rate` is held against it. Kestrel's `GracePeriod`.
        rate_grace: Span<MILLISECOND, DAY>, default("5s");
        /// How long an upgraded connection (WebSocket), or one in tcp mode, may be silent both ways; then it is closed, `tunnel-timeout`. HAProxy's `timeout tunnel`, nginx's `proxy_read_timeout`.
        tunnel: Span<MILLISECOND, { 7 * DAY }>, default("1h");
    }
}

table! {
    /// Compression of answers. Left alone are parts (206), what has a Content-Encoding already, what says `no-transform`, and all for HTTP/1.0. A strong ETag becomes a weak one.
    Compression as "a listener's compression" {
        /// Codings by preference, where a client likes several equally. HAProxy's `compression algo`.
        algorithms: List<Coding>, default(["zstd", "br", "gzip"]);
        /// Content types that are compressed, "text/*" for all of a kind. HAProxy's `compression type`, nginx's `gzip_types`.
        types: List<MediaRange>, default(["text/*", "application/json", "application/javascript", "application/xml", "application/wasm", "application/ld+json", "application/manifest+json", "application/problem+json", "application/xhtml+xml", "application/rss+xml", "application/atom+xml", "image/svg+xml"]);
        /// Shorter answers are left alone; one whose length is not known is compressed. HAProxy's `compression minsize-res`, nginx's `gzip_min_length`.
        min_size: Size<0, GIB>, default("1KiB");
        /// 1, fastest, to 9, smallest. nginx's `gzip_comp_level`.
        gzip_level: Number<1, 9>, default(5);
        /// 0, fastest, to 11, smallest.
        brotli_level: Number<0, 11>, default(4);
        /// 1, fastest, to 19, smallest.
        zstd_level: Number<1, 19>, default(3);
    }
}

table! {
    /// A rule of the shipped `router`. All conditions that it has must hold.
    Route as "[[route]]" {
        /// How logs and metrics call it. Absent: its host and path, with a number when that is taken.
        name: Name, optional;
        /// Names of the [[listener]]s whose requests it takes. Absent: all.
        listeners: OneOrMany<Text>, optional;
        /// The request's host without port, whatever its letter case: a name, "*.example.com" for all names below it, or an IP address. Absent: any. nginx's `server_name`.
        host: Host, optional;
        /// A prefix of the path, at a segment boundary: "/api" takes /api and /api/x, not /apix. nginx's `location`.
        path: Path, optional;
        /// The whole path. nginx's `location =`.
        path_exact: Path, optional;
        /// The request's method. Absent: any.
        method: OneOrMany<Method>, optional;
        /// Headers by name: a string that the value must equal, true for present, false for absent.
        headers: Map<ValueMatch>, optional;
        /// Query parameters by name: a string that the value must equal, true for present, false for absent.
        query: Map<ValueMatch>, optional;
        /// The [[pool]] where its requests go. Without `pool` and `split`: the listener's pool. HAProxy's `use_backend`.
        pool: Text, optional;
        /// Pools with weights: each gets its share of the requests. nginx's `split_clients`.
        split: Map<Number<0, 10000>>, optional;
        /// Filter plugins for its requests, after the listener's.
        filters: List<PluginName>, default([]);
        /// Whether its requests are in the access log.
        access_log: bool, default(true);
    }
}

table! {
    /// Servers that answer the same requests, and how one of them is chosen.
    Pool as "[[pool]]" {
        /// How the file, logs, metrics and the admin API call it.
        name: Name, required;
        /// The plugin that picks a server for each request. Absent: `weighted-round-robin` when the servers' weights differ, grow (`slow-start`) or are judged (`plugin` of `health`), else `round-robin`. HAProxy's `balance`.
        balancer: PluginName, optional;
        /// The plugin that brings a user back to the server that holds the session, before `balancer` is asked. A server of weight 0 keeps its users; one that can't be connected to loses them to another. HAProxy's `cookie`, `stick-table`.
        sticky: PluginName, optional;
        /// Bounds on how long a server may take.
        timeouts: PoolTimeouts, default({});
        /// Attempts after the first, each on another server, for what `retry-on` names; with no other server left the failure is answered. What a server of HTTP/2 refuses unseen is tried again with a body too, of which no more than 16 KiB were sent. HAProxy's `retries` with `option redispatch`, nginx's `proxy_next_upstream_tries`.
        retries: Number<0, 10>, default(2);
        /// After what a request is tried again: connect (refused, timed out, or no TLS), reset (closed or reset without a word of an answer), timeout (no answer in time), junk (an answer that is no HTTP), and statuses: "5xx", "503", "429". All but `connect`, after which nothing has been sent, only where it is safe: a GET, HEAD, OPTIONS, TRACE, PUT or DELETE without a body, or with one that `retry-body` keeps. When there is no further attempt, a server's own answer is passed on. HAProxy's `retry-on`, nginx's `proxy_next_upstream`.
        retry_on: List<RetryKind>, default(["connect", "reset"]);
        /// Takes every method for safe to repeat, POST too: for servers that recognise a request that they have seen. nginx's `non_idempotent`; HAProxy's `retry-on` looks at no method.
        retry_unsafe: bool, default(false);
        /// Bytes of a body that are read in full before a request is sent, so that it can be repeated; one that is longer, or of a length that is not said, is sent as it comes and not repeated. Only for requests whose method is safe to repeat. "0B": none. HAProxy keeps `tune.bufsize`.
        retry_body: Size<0, { 1024 * KIB }>, default("0B");
        /// How many retries may be under way at a time, over all workers. Absent: as many as there are. Envoy's `retry_budget`.
        retry_budget: RetryBudget, optional;
        /// What becomes of a request whose server, as `balancer` picked it, has no place (`max-connections`): another takes the next server that has one, by `balancer` and then in turn, and waits for any when none has; wait waits for that very server, as hashing wants it. A user whom `sticky` brings back waits for the server either way. HAProxy's hashes wait, its other algorithms don't.
        when_full: WhenFull, default("another");
        /// Requests that may wait in one line, be it the pool's or a server's; in tcp mode connections. Beyond it a user of `sticky` goes to another server, and anybody else gets 503, `queue-full`, with Retry-After. 0: no bound. HAProxy's `maxqueue`.
        max_queue: Number<0, 10_000_000>, default(10000);
        /// What its servers are spoken to in: 1.1 or h2. Over h2 each worker's requests to a server share a connection, up to the streams that it takes; gRPC needs it. HAProxy's `proto h2`, nginx's `grpc_pass`.
        http: HttpVersion, default("1.1");
        /// Probes that find out whether each server is up. Absent: none are made, all count as up. HAProxy's `option httpchk`, nginx Plus's `health_check`.
        health: Health, optional;
        /// Takes servers out for a while that fail real requests, and tries them before they are back: a circuit breaker. Absent: it is not watched. HAProxy's `observe`, nginx's `max_fails`, Envoy's outlier detection.
        passive: Passive, optional;
        /// How long a server's weight grows, in 20 steps, after it has come back up. "0s": it has all of it at once. `round-robin` knows no weights, and takes no notice. HAProxy's and nginx's `slowstart`.
        slow_start: Span<0, HOUR>, default("0s");
        /// When fewer of the servers than this are up, and no backup is, all are used again, whatever probes say: better some errors than all requests on the last server. "0%": never, and with every server down requests get 503, `no-server`. Envoy's `healthy_panic_threshold`.
        panic_threshold: Percent, default("0%");
        /// The line of the PROXY protocol that its servers get before anything else: off, v1 or v2. v2 tells the TLS server name and protocol too, where they are known. Connections with one belong to one client and are not shared; our own, probes among them, say LOCAL, or UNKNOWN in v1. HAProxy's `send-proxy` and `send-proxy-v2`, nginx's `proxy_protocol`.
        proxy_protocol: ProxyOut, default("off");
        /// What becomes of connections in tcp mode whose server is found down: keep lets them be; close resets them, `server-down`, as a database's clients need to find its new primary. HAProxy's `on-marked-down shutdown-sessions`.
        on_marked_down: OnMarkedDown, default("keep");
        /// The servers; `servers-file` may name more. With none at all, `[]`, requests get 503, `no-server`.
        servers: List<Server>, optional;
        /// A file with more servers, TOML (`[[servers]]`) or JSON (a list) by its extension, with the same keys; a relative path starts at this file's folder. It is watched: a change is in force at once, and what is wrong with it is logged and shown in the status while the former servers stay.
        servers_file: Text, optional;
        /// Servers that one name may bring; further addresses are left out, and the log says so. HAProxy's count of `server-template`.
        max_addresses: Number<1, 4096>, default(64);
        /// TLS is spoken to the servers. `{}` for what is usual; absent: plain. HAProxy's `ssl` of `server`, nginx's `proxy_pass https://…`.
        tls: PoolTls, optional;
    }
}

table! {
    /// TLS towards servers, versions 1.2 and 1.3. The handshake is part of `connect`, and sessions are resumed. When it fails, another server is tried as after a failed connect; then 503, `server-tls-failed`, and the access log's `reasons` say why.
    PoolTls as "a pool's tls" {
        /// A PEM file with the authorities that servers' certificates must come from. Absent: the system's. HAProxy's `ca-file`, nginx's `proxy_ssl_trusted_certificate`.
        ca: Text, optional;
        /// The name that servers are asked for (SNI), and that their certificates must bear. Absent: the host of the server's address. HAProxy's `sni` and `verifyhost`, nginx's `proxy_ssl_name`.
        server_name: Host, optional;
        /// The certificate that we show to servers which ask for one: a PEM file with chain and key together, or the chain alone. HAProxy's `crt`, nginx's `proxy_ssl_certificate`.
        certificate: Text, optional;
        /// The PEM file with its private key, where that is not in `certificate`. nginx's `proxy_ssl_certificate_key`.
        key: Text, optional;
        /// Whether a server must prove that it is the one. false: anybody who answers is believed; for tests. HAProxy's `verify none`, nginx's `proxy_ssl_verify`.
        verify: bool, default(true);
    }
}

table! {
    /// Probes that find out whether each server is up. A new server counts as up until its first probe, which decides alone. A change is logged with its reason.
    Health as "a pool's health" {
        /// http: a request, in the pool's protocol, and its answer is looked at; tcp: it is enough that the server can be connected to; tls: it must speak TLS, as the pool's `tls` has it, or with any certificate where the pool has none (HAProxy's `option ssl-hello-chk`); grpc: gRPC's health protocol (`grpc.health.v1.Health/Check`) must say SERVING, which needs `http = "h2"`.
        r#type: ProbeKind, default("http");
        /// Path and query of the request. HAProxy's `http-check send uri`.
        path: ProbePath, default("/");
        /// The request's method.
        method: Method, default("GET");
        /// The Host that it names. Absent: the server's address.
        host: Text, optional;
        /// More headers by name.
        headers: Map<Text>, default({});
        /// The service whose health is asked for where `type` is grpc. Absent: the server as a whole.
        service: Text, optional;
        /// Statuses that mean up: "200", "200-399", or a list of such. HAProxy's `http-check expect status`.
        expect: OneOrMany<StatusRange>, default("200-399");
        /// What the first 64 KiB of the body must hold. HAProxy's `http-check expect string`.
        body: Text, optional;
        /// A regular expression that they must match. HAProxy's `http-check expect rstring`.
        body_pattern: Regex, optional;
        /// A plugin that judges each probe's result: up, up with a share of its weight, drain, maint or down. When it fails, `expect` and `body` decide. HAProxy's `agent-check` asks another port for as much.
        plugin: PluginName, optional;
        /// A plugin that probes in a protocol of its own, in the place of `type` and what belongs to it: it is given a connection to the server, with the pool's TLS and PROXY line, and says up, up with a share of its weight, drain, maint or down. When it fails, the probe has failed. Shipped: redis-ping, postgres-ready, mysql-ready, agent-check. HAProxy's `option redis-check`, `pgsql-check`, `mysql-check` and `agent-check`.
        prober: PluginName, optional;
        /// From one probe to the next, give or take a twentieth. HAProxy's `inter`.
        interval: Span<{ 10 * MILLISECOND }, DAY>, default("2s");
        /// The same while it is on its way up or down. Absent: `interval`. HAProxy's `fastinter`.
        fast_interval: Span<{ 10 * MILLISECOND }, DAY>, optional;
        /// The same while it is down. Absent: `interval`. HAProxy's `downinter`.
        down_interval: Span<{ 10 * MILLISECOND }, DAY>, optional;
        /// How long a probe may take from connecting to the end of what is looked at. HAProxy's `timeout check`.
        timeout: Span<MILLISECOND, { 10 * MINUTE }>, default("1s");
        /// Probes in a row that must pass before a server that is down is up.
        rise: Number<1, 1000>, default(2);
        /// Probes in a row that must fail before a server that is up is down.
        fall: Number<1, 1000>, default(3);
        /// Another port of the server's host to probe. HAProxy's `port`.
        port: Number<1, 65535>, optional;
    }
}

table! {
    /// Takes servers out for a while that fail real requests.
    Passive as "a pool's passive health" {
        /// Failures one after the other, within `window`, that eject a server. 0: these are not counted. nginx's `max_fails`, HAProxy's `error-limit`.
        max_fails: Number<0, 100000>, default(3);
        /// How long a row of failures may take, and how long requests are counted for `max-rate`. nginx's `fail_timeout`.
        window: Span<MILLISECOND, DAY>, default("30s");
        /// Share of a window's requests whose failure ejects a server, once there are `min-requests` of them. "0%": it is not looked at.
        max_rate: Percent, default("0%");
        /// Requests in a window before its rate says anything.
        min_requests: Number<1, 1000000>, default(20);
        /// For how long a server is ejected; twice, three times … as long when it fails again soon after. nginx's `fail_timeout`, Envoy's `base_ejection_time`.
        eject: Span<MILLISECOND, DAY>, default("30s");
        /// The longest that this grows to.
        max_eject: Span<MILLISECOND, DAY>, default("5m");
        /// Share of a pool's servers that may be ejected at a time, rounded down. Envoy's `max_ejection_percent`.
        max_ejected: Percent, default("50%");
        /// Requests that must go well, one at a time, before a server whose ejection is over is back; the first that fails ejects it again, for longer (a circuit breaker's half-open state). 0: it is back at once.
        trials: Number<0, 1000>, default(1);
        /// What counts: connect (refused, timed out, or no TLS), timeout (no answer in time), broken (closed without an answer, or no HTTP), and statuses: "5xx", "503".
        on: List<FailureKind>, default(["connect", "timeout", "broken"]);
    }
}

table! {
    /// Bounds on how long a server may take.
    PoolTimeouts as "a pool's timeouts" {
        /// To connect, on each attempt; after the last 504, `connect-timeout` (503, `connect-failed`, when a server refuses). HAProxy's `timeout connect`, nginx's `proxy_connect_timeout`.
        connect: Span<MILLISECOND, { 10 * MINUTE }>, default("5s");
        /// How long a server may take nothing of a request that is sent to it; then 504, `send-timeout`. HAProxy's `timeout server`, nginx's `proxy_send_timeout`.
        send: Span<MILLISECOND, DAY>, default("60s");
        /// From the request sent to the response's head; then 504, `first-byte-timeout`. HAProxy's `timeout server`, nginx's `proxy_read_timeout`.
        first_byte: Span<MILLISECOND, DAY>, default("60s");
        /// Between two reads of a response's body; then the response is cut off, `between-bytes-timeout`. HAProxy's `timeout server`, nginx's `proxy_read_timeout`.
        between_bytes: Span<MILLISECOND, DAY>, default("60s");
        /// How long a request, or a connection in tcp mode, may wait for a place at a server that is full; then 503, `queue-timeout`, with Retry-After. HAProxy's `timeout queue`.
        queue: Span<MILLISECOND, DAY>, default("5s");
        /// From a request's head to the head of its answer, over all attempts and waits; then 504, `total-timeout`. "0s": no bound. nginx's `proxy_next_upstream_timeout`, Envoy's `timeout` of a route.
        total: Span<0, DAY>, default("0s");
    }
}

table! {
    /// How many retries may be under way at a time, over all workers. Where there is no leave for one, the failure is answered, `retry-budget` in the access log's `reasons`.
    RetryBudget as "a pool's retry budget" {
        /// Of the pool's requests in flight. Envoy's `budget_percent`.
        share: Percent, default("20%");
        /// As many always. Envoy's `min_retry_concurrency`.
        min: Number<0, 10000>, default(3);
    }
}

table! {
    /// A server of a pool.
    Server as "a server" {
        /// How logs, metrics, cookies and the admin API call it. Absent: its address.
        name: Name, optional;
        /// Where it listens: the host is an IPv4 address, an IPv6 address in brackets, or a name. Each address that a name stands for is a server of its own, called NAME@ADDRESS, which comes and goes with the answers of DNS (see [dns]). "srv:NAME" asks for SRV records: port and weight are theirs, and those of a higher priority number are backups. Or "unix:PATH", a relative path from this file's folder. HAProxy's `server-template`, nginx's `resolve` and `service`.
        address: Address, required;
        /// Its share, relative to the others'. 0: no new requests. HAProxy's and nginx's `weight`.
        weight: Number<0, 256>, default(1);
        /// Used only when no other server is usable. HAProxy's and nginx's `backup`.
        backup: bool, default(false);
        /// Requests in flight at once, over all workers, whatever connections they use (over h2 its streams); in tcp mode connections. Who comes then waits, first come, first served, as `when-full` says. Absent: no bound. HAProxy's `maxconn`, nginx's `max_conns`.
        max_connections: Number<1, 10_000_000>, optional;
        /// Free text by key for balancers, such as zone = "a".
        labels: Map<Text>, default({});
    }
}

table! {
    /// A file that a pool's `servers-file` names.
    ServersFile as "the servers file" {
        /// The servers.
        servers: List<Server>, required;
    }
}

impl File {
    pub fn listeners(&self) -> &[Located<Listener>] {
        self.listener
            .given()
            .map_or(&[], |sections| &sections.value.0)
    }
}

impl Route {
    /// None of its conditions was refused.
    pub fn conditions_are_sound(&self) -> bool {
        let exact = self.host.is_sound() && self.path.is_sound() && self.path_exact.is_sound();
        let lists = self.listeners.is_sound() && self.method.is_sound();
        exact && lists && self.headers.is_sound() && self.query.is_sound()
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::default_of;
    use super::*;

    /// Reading an empty table reads all defaults; `default_of` panics on a wrong one.
    #[test]
    fn every_default_is_valid() {
        let file: File = default_of("{}");
        assert!(file.pool.value.0.is_empty());
        default_of::<Plugin>("{ name = 'a' }");
        default_of::<Listener>("{ name = 'a', bind = '127.0.0.1:0' }");
        default_of::<Compression>("{}");
        default_of::<Dns>("{}");
        default_of::<Health>("{}");
        default_of::<Passive>("{}");
        default_of::<RetryBudget>("{}");
        default_of::<Route>("{}");
        default_of::<Pool>("{ name = 'a', servers = [{ address = 'a:1' }] }");
    }
}
