//! Built for wasm32-wasip2: writes to its output, and asks the system for what it must not have.

use std::io::Write;

use tidegate_sdk::prelude::*;

struct Writer;

impl Plugin for Writer {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        println!("configured");
        Ok(Writer)
    }
    fn interest(&self) -> Interest {
        Interest::none().path()
    }
}

impl RequestFilter for Writer {
    fn request(&self, r: &Request) -> Outcome {
        match r.path() {
            "/out" => {
                println!("to stdout");
                eprint!("to std");
                eprintln!("err");
                next()
            }
            "/flood" => {
                let _ = std::io::stderr().write_all(&[b'x'; 100_000]);
                next()
            }
            "/clocks" => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let start = std::time::Instant::now();
                let seconds = since.map_or(0, |d| d.as_secs());
                next()
                    .note("seconds", seconds.to_string())
                    .note("passed", (start.elapsed().as_secs() < 1).to_string())
            }
            "/system" => {
                let file = std::fs::read("/etc/passwd").is_err();
                let written = std::fs::write("/tmp/tidegate-writer", "x").is_err();
                let network = std::net::TcpStream::connect("127.0.0.1:9").is_err();
                next()
                    .note("file", file.to_string())
                    .note("written", written.to_string())
                    .note("network", network.to_string())
                    .note("arguments", std::env::args().count().to_string())
                    .note("environment", std::env::vars().count().to_string())
            }
            "/bad/exit" => std::process::exit(3),
            "/bad/sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(60));
                next()
            }
            _ => next(),
        }
    }
}

export!(Writer: RequestFilter);
