//! nginx as a proxy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{HOST, Place, filter_headers, other_host};
use crate::scenario::{Logic, Setup};

/// Where it speaks HTTP/2: before nginx 1.25 a socket in clear text speaks that or HTTP/1.1.
pub const HTTP2_HOST: &str = "127.0.0.2";

/// Where Debian puts JavaScript for nginx.
pub const NJS: &str = "/usr/lib/nginx/modules/ngx_http_js_module.so";

/// Where Debian puts what passes connections on as they come.
pub const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub fn command(path: &Path, setup: &Setup, place: &Place) -> Result<Vec<String>, String> {
    let file = match setup.tcp {
        true => stream(setup, place)?,
        false => web(setup, place)?,
    };
    Ok(vec![path.display().to_string(), "-c".into(), file])
}

fn stream(setup: &Setup, place: &Place) -> Result<String, String> {
    let block = format!(
        "stream {{\n{upstreams}server {{\n listen 127.0.0.1:{port} backlog=4096; proxy_pass app;\n}}\n}}\n",
        upstreams = upstreams(setup, place),
        port = place.port,
    );
    let module = format!("load_module {STREAM};\n");
    written(place.folder, setup.workers, &module, &block)
}

fn web(setup: &Setup, place: &Place) -> Result<String, String> {
    place.write("own.js", SCRIPT)?;
    let (module, script, pool) = match setup.logic {
        Logic::Routed => (String::new(), String::new(), "app"),
        Logic::Own => (
            format!("load_module {NJS};\n"),
            format!(
                "js_path {}; js_import own.js; js_set $own own.pool;\n",
                place.folder.display()
            ),
            "$own",
        ),
    };
    let location = format!("{{ proxy_pass http://{pool}; }}");
    let http = format!(
        "{script}{upstreams}server_names_hash_max_size 4096;\nserver {{\n listen 127.0.0.1:{port} backlog=4096{tls}; listen {HTTP2_HOST}:{port} http2 backlog=4096{tls};\n keepalive_requests 100000000; keepalive_timeout 60s;\n \
         proxy_http_version 1.1;\n{buffers}{headers} location /1k {location}\n location /64k {location}\n location / {location}\n}}\n{others}",
        upstreams = upstreams(setup, place),
        port = place.port,
        tls = match setup.tls {
            true => format!(" ssl; {}", certificate(place, HOST)),
            false => String::new(),
        },
        buffers = if setup.peers_expect_large { LARGE } else { "" },
        headers = headers(setup),
        others = others(setup, place),
    );
    config(place.folder, setup.workers, &module, &http)
}

/// With the buffers that it comes with, 36 KB, a body of 64 KB takes turns with its client.
const LARGE: &str = " proxy_buffer_size 64k; proxy_buffers 4 64k; proxy_busy_buffers_size 128k;\n";

const SCRIPT: &str = "function pool(r) { return r.headersIn['x-tenant'] === 'beta' ? 'beta' : 'app'; }\nexport default { pool };\n";

/// A server for each certificate that nobody asks for; the first server of all is the default.
fn others(setup: &Setup, place: &Place) -> String {
    (1..=setup.more_certificates)
        .map(|number| {
            let host = other_host(number);
            let certificate = certificate(place, &host);
            let port = place.port;
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; server_name {host}; {certificate}; }}\n"
            )
        })
        .collect()
}

fn certificate(place: &Place, host: &str) -> String {
    let file = place.certificate(host);
    format!("ssl_certificate {file}; ssl_certificate_key {file}")
}

/// Writes a configuration around what stands in `http`, and answers where.
pub fn config(folder: &Path, workers: u32, module: &str, http: &str) -> Result<String, String> {
    let here = folder.display();
    let block = format!(
        "http {{\naccess_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c; \
         uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;\n{http}}}\n"
    );
    written(folder, workers, module, &block)
}

fn written(folder: &Path, workers: u32, module: &str, block: &str) -> Result<String, String> {
    let here = folder.display();
    let text = format!(
        "{module}daemon off; worker_processes {workers}; worker_rlimit_nofile 13000; pid {here}/pid; error_log {here}/log;\n\
         events {{ worker_connections 12000; }}\n{block}"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    // The worker drops root for a user that must be able to read the folder.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
    Ok(path.display().to_string())
}

fn upstreams(setup: &Setup, place: &Place) -> String {
    let servers: String = place
        .servers
        .iter()
        .map(|address| format!(" server {address};\n"))
        .collect();
    // Room for a connection to each server and for each client's request.
    let keep = 256 + place.servers.len();
    let names: &[&str] = match setup.logic {
        Logic::Routed => &["app"],
        Logic::Own => &["app", "beta"],
    };
    names
        .iter()
        .map(|name| {
            let kept = match setup.tcp {
                true => String::new(),
                false => format!(" keepalive {keep}; keepalive_requests 100000000;\n"),
            };
            format!("upstream {name} {{\n{servers}{kept}}}\n")
        })
        .collect()
}

/// Host is passed on, which the others do by themselves.
fn headers(setup: &Setup) -> String {
    let mut fields = vec![
        ("host".to_owned(), "$http_host"),
        ("connection".to_owned(), "\"\""),
        ("x-forwarded-for".to_owned(), "$proxy_add_x_forwarded_for"),
    ];
    if setup.peers_tell_all {
        fields.extend([
            ("x-forwarded-proto".to_owned(), "$scheme"),
            ("x-forwarded-host".to_owned(), "$http_host"),
            ("x-real-ip".to_owned(), "$remote_addr"),
            ("x-request-id".to_owned(), "$request_id"),
        ]);
    }
    for filter in 1..=setup.filters {
        let [edge, zone] = filter_headers(filter);
        fields.extend([(edge, "$remote_addr"), (zone, "a")]);
    }
    if setup.logic == Logic::Own {
        fields.push(("x-pool".to_owned(), "$own"));
    }
    fields
        .iter()
        .map(|(name, value)| format!(" proxy_set_header {name} {value};\n"))
        .collect()
}
