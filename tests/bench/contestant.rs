//! The proxies: how each is configured, started and ended. And the origin behind them all.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::scenario::Logic;

/// The proxy's processor, and that of load and origin.
pub const PROXY_CPU: &str = "0";
pub const LOAD_CPU: &str = "1";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contestant {
    Tidegate,
    Haproxy,
    Nginx,
}

impl Contestant {
    /// HAProxy first: it is what the others are held against.
    pub const ALL: [Contestant; 3] = [Contestant::Haproxy, Contestant::Nginx, Contestant::Tidegate];

    pub fn name(self) -> &'static str {
        match self {
            Contestant::Tidegate => "tidegate",
            Contestant::Haproxy => "haproxy",
            Contestant::Nginx => "nginx",
        }
    }

    /// Why it takes no part, if so.
    pub fn missing(self, logic: Logic) -> Option<String> {
        if self == Contestant::Tidegate {
            return None;
        }
        if program(self.name()).is_none() {
            return Some(format!("{} is not installed", self.name()));
        }
        let script = self == Contestant::Nginx && logic == Logic::Own;
        (script && !Path::new(NJS).exists()).then(|| "nginx has no njs module here".to_owned())
    }

    pub fn start(self, logic: Logic, origin: u16, proxy: &Path) -> Result<Running, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let port = free_port();
        let command = match self {
            Contestant::Tidegate => tidegate(proxy, logic, folder.path(), port, origin)?,
            Contestant::Haproxy => haproxy(logic, folder.path(), port, origin)?,
            Contestant::Nginx => nginx(&nginx_proxy(logic, port, origin), folder.path())?,
        };
        Running::start(command, PROXY_CPU, port, folder)
    }
}

/// A started proxy or origin; ends when dropped.
pub struct Running {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(
        command: Vec<String>,
        cpu: &str,
        port: u16,
        folder: tempfile::TempDir,
    ) -> Result<Running, String> {
        let child = Command::new("taskset")
            .args(["-c", cpu])
            .args(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(folder.path())?)
            .spawn()
            .map_err(|e| format!("{}: {e}", command[0]))?;
        let running = Running {
            child,
            port,
            _folder: folder,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!(
                    "{} does not listen on port {port}:\n{}",
                    command[0],
                    running.said()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// The process and its children.
    pub fn pids(&self) -> Vec<u32> {
        let main = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        children.chain([main]).collect()
    }

    fn said(&self) -> String {
        fs::read_to_string(self._folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // TERM, so that nginx takes its workers along.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// nginx with static answers of 1 KB and 64 KB.
pub fn origin() -> Result<Running, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    for (name, size) in [("1k", 1024), ("64k", 65536)] {
        fs::write(folder.path().join(name), vec![b'x'; size]).map_err(|e| e.to_string())?;
    }
    let port = free_port();
    let root = folder.path().display();
    let server = format!(
        "sendfile on; tcp_nopush on; open_file_cache max=16; server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000; root {root}; }}"
    );
    let command = nginx(&server, folder.path())?;
    Running::start(command, LOAD_CPU, port, folder)
}

fn tidegate(
    proxy: &Path,
    logic: Logic,
    folder: &Path,
    port: u16,
    origin: u16,
) -> Result<Vec<String>, String> {
    let (plugins, listener) = match logic {
        Logic::Routed => (String::new(), ""),
        Logic::Filtered => (
            "[[plugin]]\nname = \"mark\"\nshipped = \"headers\"\nconfig = { request = { set = { x-edge = \"{client-address}\", x-zone = \"a\" } } }\n".to_owned(),
            "filters = [\"mark\"]",
        ),
        Logic::Own => (own_plugin(folder)?, "router = \"own\""),
    };
    let routes = match logic {
        Logic::Own => "",
        _ => {
            "[[route]]\npath = \"/1k\"\npool = \"app\"\n[[route]]\npath = \"/64k\"\npool = \"app\"\n"
        }
    };
    let servers: Vec<String> = (1..=3)
        .map(|n| format!("{{ name = \"s{n}\", address = \"127.0.0.1:{origin}\" }}"))
        .collect();
    let servers = servers.join(", ");
    let config = format!(
        "[proxy]\nworkers = 1\n[log]\naccess = \"off\"\n{plugins}\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n{listener}\n{routes}\n\
         [[pool]]\nname = \"app\"\nservers = [{servers}]\n[[pool]]\nname = \"beta\"\nservers = [{servers}]\n"
    );
    let path = write(folder, "tidegate.toml", &config)?;
    Ok(vec![
        proxy.display().to_string(),
        "run".into(),
        "-c".into(),
        path,
    ])
}

/// `own-logic`, compiled.
fn own_plugin(folder: &Path) -> Result<String, String> {
    let wasm = std::env::current_dir()
        .map_err(|e| e.to_string())?
        .join("tests/bench/out/own_logic.wasm");
    if !wasm.exists() {
        return Err(format!(
            "{} is missing: tests/bench/run builds it",
            wasm.display()
        ));
    }
    let copy = folder.join("own.wasm");
    fs::copy(&wasm, &copy).map_err(|e| e.to_string())?;
    Ok(format!(
        "[[plugin]]\nname = \"own\"\npath = {:?}\n",
        copy.display().to_string()
    ))
}

fn haproxy(logic: Logic, folder: &Path, port: u16, origin: u16) -> Result<Vec<String>, String> {
    let (global, front) = match logic {
        Logic::Routed => (String::new(), "use_backend app if { path_beg /1k } or { path_beg /64k }".to_owned()),
        Logic::Filtered => (
            String::new(),
            "http-request set-header x-edge %[src]\n http-request set-header x-zone a\n use_backend app if { path_beg /1k }".to_owned(),
        ),
        Logic::Own => {
            let script = write(folder, "own.lua", HAPROXY_LUA)?;
            let front = "http-request lua.own\n use_backend %[var(txn.pool)]".to_owned();
            (format!("lua-load {script}"), front)
        }
    };
    let servers: String = (1..=3)
        .map(|n| format!(" server s{n} 127.0.0.1:{origin}\n"))
        .collect();
    let config = format!(
        "global\n nbthread 1\n maxconn 9000\n {global}\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n option forwardfor\n http-reuse always\n\
         frontend web\n bind 127.0.0.1:{port}\n {front}\n default_backend app\nbackend app\n balance roundrobin\n{servers}backend beta\n balance roundrobin\n{servers}"
    );
    let path = write(folder, "haproxy.cfg", &config)?;
    Ok(vec![
        program("haproxy").ok_or("haproxy is not installed")?,
        "-db".into(),
        "-f".into(),
        path,
    ])
}

const HAPROXY_LUA: &str = r#"
core.register_action("own", { "http-req" }, function(txn)
  local tenant = txn.sf:req_hdr("x-tenant")
  local pool = "app"
  if tenant == "beta" then pool = "beta" end
  txn:set_var("txn.pool", pool)
  txn.http:req_set_header("x-pool", pool)
end, 0)
"#;

const NJS: &str = "/usr/lib/nginx/modules/ngx_http_js_module.so";

fn nginx_proxy(logic: Logic, port: u16, origin: u16) -> String {
    let servers = format!("server 127.0.0.1:{origin}; ").repeat(3);
    let upstream = |name| {
        format!("upstream {name} {{ {servers} keepalive 256; keepalive_requests 100000000; }}\n")
    };
    let location = match logic {
        Logic::Routed => "location / { proxy_pass http://app; }",
        Logic::Filtered => {
            "location / { proxy_set_header X-Edge $remote_addr; proxy_set_header X-Zone a; proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr; proxy_pass http://app; }"
        }
        Logic::Own => {
            "location / { proxy_set_header X-Pool $own; proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr; proxy_pass http://$own; }"
        }
    };
    let script = if logic == Logic::Own {
        "js_path FOLDER; js_import own.js; js_set $own own.pool;\n"
    } else {
        ""
    };
    format!(
        "{script}{}{}server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000; keepalive_timeout 60s; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr; {location} }}",
        upstream("app"),
        upstream("beta"),
    )
}

const NGINX_JS: &str = "function pool(r) { return r.headersIn['x-tenant'] === 'beta' ? 'beta' : 'app'; }\nexport default { pool };\n";

fn nginx(http: &str, folder: &Path) -> Result<Vec<String>, String> {
    let here = folder.display();
    write(folder, "own.js", NGINX_JS)?;
    let module = if http.contains("js_import") {
        format!("load_module {NJS};\n")
    } else {
        String::new()
    };
    let http = http.replace("FOLDER", &here.to_string());
    let config = format!(
        "{module}daemon off; worker_processes 1; pid {here}/pid; error_log {here}/log;\nevents {{ worker_connections 18000; }}\n\
         http {{ access_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;\n{http} }}\n"
    );
    // The worker drops root for a user that must be able to read the folder.
    set_readable(folder)?;
    let path = write(folder, "nginx.conf", &config)?;
    Ok(vec![
        program("nginx").ok_or("nginx is not installed")?,
        "-c".into(),
        path,
    ])
}

fn set_readable(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())
}

fn log(folder: &Path) -> Result<fs::File, String> {
    fs::File::create(folder.join("log")).map_err(|e| e.to_string())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String, String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| e.to_string())?;
    Ok(path.display().to_string())
}

/// Debian keeps daemons in sbin, which is not on everyone's PATH.
fn program(name: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let found = path
        .split(':')
        .map(|folder| PathBuf::from(folder).join(name))
        .find(|file| file.is_file());
    found.map(|file| file.display().to_string())
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.local_addr().expect("it is bound").port()
}
