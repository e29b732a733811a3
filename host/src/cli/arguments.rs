//! The flags of every command, in clap's words. Holds no behaviour; each command's help ends with an example.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(
    name = "tidegate",
    version,
    about = "A load balancer and reverse proxy whose every decision is a sandboxed WebAssembly component",
    after_help = "Examples:
  tidegate demo                          # three small origins and a proxy in front, no config file
  tidegate check -c tidegate.toml        # everything that is wrong with a config, at once
  tidegate plugin new by-tenant --role router

Exit codes: 0 fine, 1 a problem in what it was given, 2 wrong usage."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run three small origins with a proxy in front: the main job, with no config file
    #[command(after_help = "Examples:
  tidegate demo
  tidegate demo --bind 127.0.0.1:9000 --admin 127.0.0.1:9001")]
    Demo(Demo),
    /// Run the proxy
    #[command(after_help = "Examples:
  tidegate run -c /etc/tidegate/tidegate.toml

Signals: HUP reads the config again, TERM and INT drain and leave, a second INT leaves at once.
TIDEGATE_LOG, in the words of tracing's EnvFilter, overrules `level` in [log].")]
    Run(ConfigFile),
    /// Validate a config with all its plugins; every problem with place and remedy
    #[command(after_help = "Examples:
  tidegate check
  tidegate check -c tidegate.toml && kill -HUP \"$(pidof tidegate)\"")]
    Check(ConfigFile),
    /// Talk to a running proxy
    #[command(after_help = "Examples:
  tidegate ctl status
  tidegate ctl --admin http://127.0.0.1:9901 --token \"$TOKEN\" swap by-tenant by_tenant.wasm")]
    Ctl(Ctl),
    /// Write, build and try plugins
    #[command(after_help = "Examples:
  tidegate plugin new by-tenant --role router
  tidegate plugin build by-tenant -o by_tenant.wasm
  tidegate plugin test by_tenant.wasm by-tenant/cases.toml")]
    Plugin(Plugin),
    /// Print the JSON Schema of the config file
    #[command(after_help = "Examples:
  tidegate schema > tidegate.schema.json     # then, as the config's first line: #:schema ./tidegate.schema.json")]
    Schema,
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate
  tidegate completions zsh > ~/.zfunc/_tidegate")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub struct Demo {
    /// Where the proxy listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub bind: SocketAddr,
    /// Where the admin surface listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
}

#[derive(Args)]
pub struct ConfigFile {
    /// The config file
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "./tidegate.toml"
    )]
    pub config: PathBuf,
}

#[derive(Args)]
pub struct Ctl {
    /// The admin port, or its socket as unix:PATH, which needs no token [env: TIDEGATE_ADMIN] [default: http://127.0.0.1:9901]
    #[arg(long, value_name = "URL", global = true)]
    pub admin: Option<String>,
    /// The admin token, for changes; the environment hides it from `ps` [env: TIDEGATE_TOKEN]
    #[arg(long, value_name = "TOKEN", global = true)]
    pub token: Option<String>,
    #[command(subcommand)]
    pub command: CtlCommand,
}

#[derive(Subcommand)]
pub enum CtlCommand {
    /// Exit with 0 when traffic would be served, else with 1 and the reason
    #[command(after_help = "Examples:
  tidegate ctl health
  tidegate ctl health --pool app      # as keepalived's vrrp_script")]
    Health {
        /// Ask for a usable server in this pool too
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
    },
    /// Show listeners, pools, servers and plugins
    #[command(after_help = "Examples:
  tidegate ctl status
  tidegate ctl status --json | jq .pools")]
    Status {
        /// As JSON, whole
        #[arg(long)]
        json: bool,
    },
    /// Put a new .wasm live under a plugin's name; returns once every worker runs it
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl swap by-tenant by_tenant.wasm")]
    Swap {
        /// The plugin's name in the config
        name: String,
        /// The .wasm file
        file: PathBuf,
    },
    /// Read the config file again, all or nothing; returns once every worker runs it
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl reload")]
    Reload,
    /// Send a server no new users; those that it has may come back
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl drain app/web1")]
    Drain {
        /// POOL/SERVER
        server: String,
    },
    /// Take a server out, for its users too
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl maint app/web1")]
    Maint {
        /// POOL/SERVER
        server: String,
    },
    /// Use a server again, as far as its probes allow
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl ready app/web1")]
    Ready {
        /// POOL/SERVER
        server: String,
    },
    /// Give a server another weight; it stays across reloads until the config says something else of the server
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl weight app/web1 50
  tidegate ctl --admin unix:/run/tidegate/admin.sock weight app/web1 50%     # of what the config says")]
    Weight {
        /// POOL/SERVER
        server: String,
        /// 0 to 256, or per cent of what the config says; 0: no new users
        weight: String,
    },
    /// Add a server to a pool; it stays across reloads until the config has one of that name, and ends with the process
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl add app/web3 10.0.0.3:80
  TIDEGATE_TOKEN=… tidegate ctl add app/web4 10.0.0.4:80 --weight 5 --label zone=b --state maint")]
    Add {
        /// POOL/SERVER
        server: String,
        /// IP:PORT, or unix:PATH
        address: String,
        /// 0 to 256
        #[arg(long)]
        weight: Option<u32>,
        /// Requests that it may have at a time, in tcp mode connections; further ones wait
        #[arg(long)]
        max_connections: Option<u32>,
        /// Used only when no other server is usable
        #[arg(long)]
        backup: bool,
        /// Text for balancers, KEY=VALUE; as often as needed
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// How it begins: ready, drain or maint
        #[arg(long, default_value = "ready")]
        state: String,
    },
    /// Take a server out of its pool; what is in flight there ends as it began
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl remove app/web3")]
    Remove {
        /// POOL/SERVER
        server: String,
    },
    /// Say which route, filters, pool and server a request would get now, and why
    #[command(after_help = "Examples:
  tidegate ctl explain http://shop.example/cart
  tidegate ctl explain http://api.example/v1 --method POST --header 'x-tenant: blue'")]
    Explain {
        /// The request's URL
        url: String,
        /// Its method
        #[arg(long, default_value = "GET")]
        method: String,
        /// A header of it, NAME: VALUE; as often as needed
        #[arg(long, value_name = "HEADER")]
        header: Vec<String>,
        /// The listener that takes it; without it the first one that takes requests
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        /// The client's IP address
        #[arg(long, value_name = "ADDRESS")]
        client: Option<String>,
    },
    /// Follow requests as they end, with what every plugin decided about each and why; Ctrl-C ends
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl tap --listener web --status 5xx
  TIDEGATE_TOKEN=… tidegate ctl tap --path /api --header 'x-tenant: blue' -n 10 --json | jq .steps
  tidegate ctl --admin unix:/run/tidegate/admin.sock tap --decision failed --for 10m

An option given again is another value that it may have; every --header must be there.")]
    Tap(Box<Tap>),
    /// List the last ten generations, which can be gone back to
    #[command(after_help = "Examples:
  tidegate ctl history")]
    History,
    /// Run what a generation ran, its configuration and its plugins; returns once every worker runs it
    #[command(after_help = "Examples:
  TIDEGATE_TOKEN=… tidegate ctl rollback 7")]
    Rollback {
        /// The generation's number
        generation: u64,
    },
}

#[derive(Args)]
pub struct Tap {
    /// Taken by this listener
    #[arg(long, value_name = "NAME")]
    pub listener: Vec<String>,
    /// Taken by this route
    #[arg(long, value_name = "NAME")]
    pub route: Vec<String>,
    /// Sent to this pool
    #[arg(long, value_name = "NAME")]
    pub pool: Vec<String>,
    /// Sent to this server, SERVER or POOL/SERVER
    #[arg(long, value_name = "SERVER")]
    pub server: Vec<String>,
    /// With this method
    #[arg(long, value_name = "METHOD")]
    pub method: Vec<String>,
    /// For this host, or *.example.com for all names below it
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// With a path that begins so, at a segment boundary
    #[arg(long, value_name = "PREFIX")]
    pub path: Vec<String>,
    /// Answered with 502, 5xx, or none for no answer
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<String>,
    /// From this client, an address or a network
    #[arg(long, value_name = "ADDRESS")]
    pub client: Vec<String>,
    /// That took this long at least, such as 250ms
    #[arg(long, value_name = "TIME")]
    pub min_duration: Option<String>,
    /// About which this plugin was asked
    #[arg(long, value_name = "NAME")]
    pub plugin: Vec<String>,
    /// Of which a plugin (that of --plugin) decided so: respond, failed, refuse, …
    #[arg(long, value_name = "DECISION")]
    pub decision: Vec<String>,
    /// That went wrong with this word of the access log, or any
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<String>,
    /// With this header, NAME or NAME: VALUE
    #[arg(long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// End after so many requests
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u64>,
    /// End after this time, such as 30s
    #[arg(long = "for", value_name = "TIME")]
    pub at_most: Option<String>,
    /// The lines as the proxy sends them, JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Plugin {
    #[command(subcommand)]
    pub command: PluginCommand,
}

#[derive(Subcommand)]
pub enum PluginCommand {
    /// Write a plugin crate that builds and passes its tests as it is
    #[command(after_help = "Examples:
  tidegate plugin new by-tenant --role router
  cd by-tenant && cargo test && tidegate plugin build -o by_tenant.wasm")]
    New(New),
    /// Compile a plugin crate into one validated .wasm
    #[command(after_help = "Examples:
  tidegate plugin build
  tidegate plugin build by-tenant --target wasm32-wasip2 -o by_tenant.wasm")]
    Build(Build),
    /// Show what a .wasm is: roles, WIT version, imports, size, hash
    #[command(after_help = "Examples:
  tidegate plugin inspect by_tenant.wasm
  tidegate plugin inspect --json by_tenant.wasm | jq -r .sha256     # to pin it in the config")]
    Inspect(Inspect),
    /// Drive a built .wasm with cases from a file
    #[command(
        after_help = "Examples:
  tidegate plugin test by_tenant.wasm                  # cases.toml beside it, or in this folder
  tidegate plugin test by_tenant.wasm by-tenant/cases.toml
  tidegate plugin test --help                          # with the format of the cases file",
        after_long_help = format!("Examples:
  tidegate plugin test by_tenant.wasm                  # cases.toml beside it, or in this folder
  tidegate plugin test by_tenant.wasm by-tenant/cases.toml

{}", super::plugin::CASES_HELP)
    )]
    Test(Test),
    /// Measure nanoseconds per call of each role that a .wasm exports
    #[command(after_help = "Examples:
  tidegate plugin bench by_tenant.wasm
  tidegate plugin bench by_tenant.wasm --config '{\"header\": \"x-tenant\"}' --servers 1000")]
    Bench(Bench),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Picks the server of a pool
    Balancer,
    /// Chooses the pool of a request
    Router,
    /// Sees and changes requests and responses
    Filter,
}

#[derive(Args)]
pub struct New {
    /// The crate's name: lower-case letters, digits and hyphens, beginning with a letter
    pub name: String,
    /// What it decides
    #[arg(long)]
    pub role: Role,
    /// The folder to write [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A core module that imports nothing but what the host offers; becomes a component as it is loaded
    #[value(name = "wasm32-unknown-unknown")]
    Unknown,
    /// A component with WASI, of which the host grants nothing
    #[value(name = "wasm32-wasip2")]
    Wasip2,
}

#[derive(Args)]
pub struct Build {
    /// The crate's folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// What to compile for
    #[arg(long, default_value = "wasm32-unknown-unknown")]
    pub target: Target,
    /// Where to put the .wasm [default: ./NAME.wasm]
    #[arg(short = 'o', long = "output", value_name = "OUT.wasm")]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Inspect {
    /// The .wasm file
    pub file: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Test {
    /// The built plugin
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The cases [default: cases.toml beside FILE.wasm, else in this folder]
    #[arg(value_name = "CASES.toml")]
    pub cases: Option<PathBuf>,
}

#[derive(Args)]
pub struct Bench {
    /// The built plugin
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The plugin's settings, a JSON object [default: those of --cases, else {}]
    #[arg(long, value_name = "JSON")]
    pub config: Option<String>,
    /// Take settings, pools, servers and the first request from this cases file of `plugin test`
    #[arg(long, value_name = "CASES.toml")]
    pub cases: Option<PathBuf>,
    /// Servers in the pool that a balancer picks from, 1 to 10000 [default: those of --cases, else 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub servers: Option<u32>,
    /// How long each role is measured, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub time: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn visit(command: &mut clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                assert!(
                    help.contains("Example"),
                    "{path} --help has no example:\n{help}"
                );
            }
            // clap's own `help` repeats what is tested here.
            let ours = command.get_subcommands_mut();
            for sub in ours.filter(|sub| sub.get_name() != "help") {
                visit(sub, &path);
            }
        }
        visit(&mut Arguments::command(), "");
    }
}
