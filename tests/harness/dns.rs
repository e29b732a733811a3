//! A DNS server under the test's control: real UDP on a port of 127.0.0.1, and as much of RFC 1035 and RFC 2782 as it takes to
//! answer for hosts and services.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

const NXDOMAIN: u8 = 3;
pub const SERVFAIL: u8 = 2;

/// Ends with the test.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    records: BTreeMap<String, Vec<Record>>,
    /// None: as the records say.
    failure: Option<Failure>,
    questions: Vec<(String, Instant)>,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Failure {
    Silence,
    Code(u8),
}

struct Record {
    kind: u16,
    ttl: u32,
    data: Vec<u8>,
}

/// A record of a service: priority, weight, port, host.
pub type Service<'a> = (u16, u16, u16, &'a str);

impl Dns {
    /// Knows no name yet.
    pub fn start() -> Dns {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a socket takes a timeout");
        let address = socket.local_addr().expect("it is bound");
        let zone = Arc::new(Mutex::new(Zone::default()));
        thread::spawn({
            let zone = zone.clone();
            move || serve(&socket, &zone)
        });
        Dns { address, zone }
    }

    /// A `[dns]` section that asks it, with further lines.
    pub fn section(&self, lines: &str) -> String {
        format!("[dns]\nservers = [\"{}\"]\n{lines}\n", self.address)
    }

    /// From now on the host has these addresses.
    pub fn host(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let records = addresses.iter().map(|address| {
            let (kind, data) = match address {
                IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
            };
            Record { kind, ttl, data }
        });
        self.set(name, records.collect());
    }

    /// From now on the service has these records.
    pub fn service(&self, name: &str, ttl: u32, services: &[Service<'_>]) {
        let records = services.iter().map(|(priority, weight, port, host)| {
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend(number.to_be_bytes());
            }
            for label in host.split('.') {
                data.push(label.len() as u8);
                data.extend(label.bytes());
            }
            data.push(0);
            Record {
                kind: SRV,
                ttl,
                data,
            }
        });
        self.set(name, records.collect());
    }

    /// From now on the name does not exist.
    pub fn remove(&self, name: &str) {
        self.zone().records.remove(name);
    }

    /// From now on nobody gets an answer.
    pub fn fall_silent(&self) {
        self.zone().failure = Some(Failure::Silence);
    }

    /// From now on everybody gets this response code (RFC 1035, 4.1.1).
    pub fn fail(&self, code: u8) {
        self.zone().failure = Some(Failure::Code(code));
    }

    /// It answers again.
    pub fn recover(&self) {
        self.zone().failure = None;
    }

    /// When it was asked for that name.
    pub fn questions(&self, name: &str) -> Vec<Instant> {
        let zone = self.zone();
        let asked = zone.questions.iter().filter(|(asked, _)| asked == name);
        asked.map(|(_, at)| *at).collect()
    }

    fn set(&self, name: &str, records: Vec<Record>) {
        self.zone().records.insert(name.to_owned(), records);
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().expect("no thread panics with it")
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        if let Ok(mut zone) = self.zone.lock() {
            zone.ended = true;
        }
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut packet = [0; 1500];
    loop {
        let received = socket.recv_from(&mut packet);
        let mut zone = zone.lock().expect("no thread panics with it");
        if zone.ended {
            return;
        }
        let Ok((length, peer)) = received else {
            continue;
        };
        if let Some(answer) = zone.answer(&packet[..length]) {
            let _ = socket.send_to(&answer, peer);
        }
    }
}

impl Zone {
    fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (name, kind, end) = question(packet)?;
        self.questions.push((name.clone(), Instant::now()));
        let records: Vec<&Record> = match self.records.get(&name) {
            Some(records) => records.iter().filter(|r| r.kind == kind).collect(),
            None => Vec::new(),
        };
        let (code, records) = match self.failure {
            Some(Failure::Silence) => return None,
            Some(Failure::Code(code)) => (code, Vec::new()),
            None if self.records.contains_key(&name) => (0, records),
            None => (NXDOMAIN, Vec::new()),
        };
        let mut answer = packet[..2].to_vec();
        // A response of a server that recurses; one question, so many answers.
        answer.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend(&packet[12..end]);
        for record in records {
            // The name is the question's, which begins at 12.
            answer.extend([0xc0, 12]);
            answer.extend(record.kind.to_be_bytes());
            answer.extend(1u16.to_be_bytes());
            answer.extend(record.ttl.to_be_bytes());
            answer.extend((record.data.len() as u16).to_be_bytes());
            answer.extend(&record.data);
        }
        Some(answer)
    }
}

/// Name, type, and where the question ends.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = packet.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
    let kind = packet.get(at..at + 2)?;
    Some((
        labels.join("."),
        u16::from_be_bytes([kind[0], kind[1]]),
        at + 4,
    ))
}
