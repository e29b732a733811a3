//! `tidegate demo`: three origins, a proxy in front with shipped plugins, the admin surface with a token of its own; the main
//! job with no config file. What it writes lies in a temporary folder (0700) and goes with the process.

mod origins;
mod tour;

use std::fs;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::shipped;

use super::arguments::Demo;
use super::terminal::{Failure, Progress, failed, print};
use super::{Host, check};
use origins::Origin;
use tour::Tour;

/// What the tour swaps in: every request then goes to the first origin, which shows at once.
const SWAPPED_IN: &str = "first";

pub fn demo(host: &Host, flags: &Demo) -> Result<(), Failure> {
    let progress = Progress::new("starting three origins and a proxy");
    need_free(flags.bind, "--bind")?;
    need_free(flags.admin, "--admin")?;
    if flags.bind == flags.admin && flags.bind.port() != 0 {
        return Err(Failure::new(
            "--bind and --admin are the same address; choose another for one of them",
        ));
    }
    let origins = origins::start().map_err(failed("start the origins"))?;
    let folder = folder().map_err(failed("make a temporary folder"))?;
    let token = token().map_err(failed("make a token"))?;
    let path = folder.path().join("tidegate.toml");
    write(&path, config(flags, &origins, &token).as_bytes())?;
    let swapped_in = folder.path().join(format!("{SWAPPED_IN}.wasm"));
    write(&swapped_in, shipped::get(SWAPPED_IN).unwrap_or_default())?;
    let config = check::load(&path)?;
    (host.start_log)(&std::env::var("TIDEGATE_LOG").unwrap_or_else(|_| "warn".into()));
    let ready = move |control: &crate::control::Control| {
        drop(progress);
        let tour = Tour {
            config: path,
            swapped_in,
            token,
        };
        // Nobody may be reading; the proxy runs all the same.
        let _ = print(&tour.text(control));
    };
    (host.run)(config, Box::new(ready)).map_err(Failure::of_texts)
}

/// A short look before anything starts, so that the error names the flag.
fn need_free(address: SocketAddr, flag: &str) -> Result<(), Failure> {
    let Err(error) = TcpListener::bind(address) else {
        return Ok(());
    };
    let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080));
    Err(Failure::new(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the address {address} is in use; end what listens there, or choose another: tidegate demo {flag} {other}"
        ),
        _ => format!(
            "cannot listen on {address}: {error}; choose another address: tidegate demo {flag} 127.0.0.1:{}",
            other.port()
        ),
    }))
}

fn config(flags: &Demo, origins: &[Origin], token: &str) -> String {
    let servers: Vec<String> = origins
        .iter()
        .map(|origin| {
            format!(
                "  {{ name = \"{}\", address = \"{}\" }},\n",
                origin.name, origin.address
            )
        })
        .collect();
    format!(
        r#"# What `tidegate demo` runs. Change it: it is read again when it is saved.

[proxy]
watch = true

[admin]
bind = "{admin}"
token = "{token}"

[log]
access = "stdout"
format = "httplog"

# The balancer has a name of its own here, so that another .wasm can be put in its place while it runs.
[[plugin]]
name = "balancer"
shipped = "round-robin"

[[listener]]
name = "web"
bind = "{bind}"
router = "router"
pool = "app"

# /user/… goes to one server for each value of x-user, as long as that server is there.
[[route]]
name = "user"
path = "/user"
pool = "by-user"

[[pool]]
name = "app"
balancer = "balancer"
servers = [
{servers}]

[[pool]]
name = "by-user"
balancer = {{ plugin = "consistent-hash", on = "header:x-user" }}
servers = [
{servers}]
"#,
        admin = flags.admin,
        bind = flags.bind,
        servers = servers.concat(),
    )
}

/// The config in it holds the token.
fn folder() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("tidegate-demo-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
}

/// 128 bits from the system, as hex.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(failed(format_args!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_the_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let words = need_free(address, "--admin").unwrap_err().to_string();
        assert!(
            words.contains(&address.to_string()) && words.contains("--admin"),
            "{words}"
        );
    }

    #[test]
    fn nobody_else_reads_the_token() {
        let folder = folder().unwrap();
        let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_token_is_not_guessed() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
