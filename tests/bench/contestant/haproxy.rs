//! HAProxy: its configuration, and what its socket tells.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Place, filter_headers};
use crate::scenario::{Logic, Setup};

pub fn command(path: &Path, setup: &Setup, place: &Place) -> Result<Vec<String>, String> {
    let config = format!(
        "global\n nbthread {workers}\n maxconn 6000\n stats socket {socket} mode 600\n{script}\
         defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n{mode}{large}\
         frontend web\n bind 127.0.0.1:{port}{tls}\n{rules} default_backend app\n{backends}",
        workers = setup.workers,
        socket = place.folder.join(SOCKET).display(),
        script = script(setup, place)?,
        mode = if setup.tcp { TCP } else { HTTP },
        large = if setup.peers_expect_large { LARGE } else { "" },
        port = place.port,
        tls = match setup.tls {
            true => format!(" ssl crt {}", place.certificates()),
            false => String::new(),
        },
        rules = rules(setup),
        backends = backends(setup, place),
    );
    let file = place.write("haproxy.cfg", &config)?;
    Ok(vec![
        path.display().to_string(),
        "-db".into(),
        "-f".into(),
        file,
    ])
}

/// Connections of the frontend by thread: in `show fd`, `tmask` is the thread's bit and `fe` the frontend of a client's connection.
pub fn spread(folder: &Path) -> Result<Vec<u64>, String> {
    let ask = || -> std::io::Result<String> {
        let mut socket = UnixStream::connect(folder.join(SOCKET))?;
        socket.write_all(b"show fd\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().map_err(|e| format!("haproxy's socket: {e}"))?;
    let threads = ["tmask=0x1 ", "tmask=0x2 "];
    let count = |thread: &&str| {
        text.lines()
            .filter(|line| line.contains(*thread) && line.contains(" fe=web mux=H1"))
            .count() as u64
    };
    Ok(threads.iter().map(count).collect())
}

const HTTP: &str = " mode http\n option forwardfor\n http-reuse always\n";

/// Bytes go from socket to socket in the kernel, where there is enough of them at a time.
const TCP: &str = " mode tcp\n option splice-auto\n";

/// Bodies go from socket to socket in the kernel, where there is enough of them at a time.
const LARGE: &str = " option splice-response\n";

const SOCKET: &str = "haproxy.sock";

fn script(setup: &Setup, place: &Place) -> Result<String, String> {
    match setup.logic {
        Logic::Routed => Ok(String::new()),
        Logic::Own => Ok(format!(" lua-load {}\n", place.write("own.lua", LUA)?)),
    }
}

const LUA: &str = r#"
core.register_action("own", { "http-req" }, function(txn)
  local tenant = txn.sf:req_hdr("x-tenant")
  local pool = "app"
  if tenant == "beta" then pool = "beta" end
  txn:set_var("txn.pool", pool)
  txn.http:req_set_header("x-pool", pool)
end, 0)
"#;

fn rules(setup: &Setup) -> String {
    if setup.tcp {
        return String::new();
    }
    let mut rules: String = (1..=setup.filters)
        .map(|filter| {
            let [edge, zone] = filter_headers(filter);
            format!(" http-request set-header {edge} %[src]\n http-request set-header {zone} a\n")
        })
        .collect();
    if setup.peers_tell_all {
        rules += " http-request set-header x-forwarded-proto http\n http-request set-header x-forwarded-host %[req.hdr(host)]\n \
                  http-request set-header x-real-ip %[src]\n unique-id-format %{+X}o%ci%cp%Ts%rt\n unique-id-header x-request-id\n";
    }
    rules += match setup.logic {
        Logic::Routed => " use_backend app if { path_beg /1k } or { path_beg /64k }\n",
        Logic::Own => " http-request lua.own\n use_backend %[var(txn.pool)]\n",
    };
    rules
}

fn backends(setup: &Setup, place: &Place) -> String {
    let servers: String = (1..)
        .zip(&place.servers)
        .map(|(number, address)| format!(" server s{number} {address}\n"))
        .collect();
    let names: &[&str] = match setup.logic {
        Logic::Routed => &["app"],
        Logic::Own => &["app", "beta"],
    };
    names
        .iter()
        .map(|name| format!("backend {name}\n balance roundrobin\n{servers}"))
        .collect()
}
