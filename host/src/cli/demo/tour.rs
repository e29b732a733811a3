//! What to try next, as lines that can be pasted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::control::Control;

pub struct Tour {
    pub config: PathBuf,
    pub swapped_in: PathBuf,
    pub token: String,
}

impl Tour {
    pub fn text(&self, control: &Control) -> String {
        let proxy = control
            .status()
            .listeners
            .iter()
            .flat_map(|listener| &listener.addresses)
            .find_map(|address| address.parse().ok());
        let admin = control.admin_port().borrow().clone();
        let admin = admin.and_then(|port| port.socket.local_addr().ok());
        let unknown = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.written(proxy.unwrap_or(unknown), admin.unwrap_or(unknown))
    }

    fn written(&self, proxy: SocketAddr, admin: SocketAddr) -> String {
        let (proxy, admin) = (reachable(proxy), reachable(admin));
        let (token, tidegate) = (&self.token, myself());
        let (config, wasm) = (quoted(&self.config), quoted(&self.swapped_in));
        format!(
            "\
Three origins are running, and a proxy in front of them on http://{proxy}
What decides is Wasm: the balancer, the router. Try, in another terminal:

  # three origins, in turn
  curl -i http://{proxy}/

  # one user, one origin
  curl -H 'x-user: ada' http://{proxy}/user/ada

  # another balancer, live at once: all goes to the first origin
  curl -X PUT -H 'Authorization: Bearer {token}' --data-binary @{wasm} http://{admin}/api/v1/plugins/balancer
  curl http://{proxy}/

  # what runs: http://{admin}/ in a browser, or
  curl http://{admin}/api/v1/status
  curl http://{admin}/metrics

  # the config; it is read again when you save it
  ${{EDITOR:-vi}} {config}

  # a balancer of your own: write it, test it, put it live
  export TIDEGATE_ADMIN=http://{admin} TIDEGATE_TOKEN={token}
  {tidegate} plugin new my-balancer --role balancer
  (cd my-balancer && cargo test)
  {tidegate} plugin build my-balancer -o my_balancer.wasm
  {tidegate} ctl swap balancer my_balancer.wasm
  {tidegate} ctl status

Ctrl-C ends it. The access log follows.

"
        )
    }
}

/// Where a client on this machine reaches it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How this binary is called from a shell: by its name if the search path leads to it.
fn myself() -> String {
    let Ok(me) = std::env::current_exe().and_then(std::fs::canonicalize) else {
        return "tidegate".into();
    };
    let search = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&search)
        .map(|folder| folder.join("tidegate"))
        .find(|file| file.is_file());
    match first.and_then(|file| file.canonicalize().ok()) {
        Some(found) if found == me => "tidegate".into(),
        _ => quoted(&me),
    }
}

/// For a POSIX shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_can_be_pasted() {
        let tour = Tour {
            config: "/tmp/a b/tidegate.toml".into(),
            swapped_in: "/tmp/it's/first.wasm".into(),
            token: "abc".into(),
        };
        let text = tour.written(
            "0.0.0.0:8080".parse().unwrap(),
            "[::]:9901".parse().unwrap(),
        );
        assert!(text.contains("curl -i http://127.0.0.1:8080/\n"), "{text}");
        assert!(text.contains("'/tmp/a b/tidegate.toml'\n"), "{text}");
        assert!(
            text.contains(r"--data-binary @'/tmp/it'\''s/first.wasm' http://[::1]:9901/api/v1/plugins/balancer"),
            "{text}"
        );
    }
}
