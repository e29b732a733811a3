//! Packets of MySQL's protocol, as many as a probe needs (MySQL, "Client/Server Protocol", connection phase).

use tidegate_sdk::ProbeStream;

/// Bytes of a packet that a probe takes; a greeting has about a hundred.
const MOST: usize = 4 << 10;

/// LONG_PASSWORD, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x0000_0001 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000;
const LARGEST_PACKET: u32 = 1 << 24;
/// utf8mb4_general_ci.
const CHARACTERS: u8 = 45;

pub struct Packet {
    pub number: u8,
    pub body: Vec<u8>,
}

impl Packet {
    pub fn new(number: u8, body: Vec<u8>) -> Packet {
        Packet { number, body }
    }

    pub fn receive(stream: &mut ProbeStream) -> Result<Packet, String> {
        let head = stream.exactly(4)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        if length > MOST {
            return Err(other());
        }
        Ok(Packet::new(head[3], stream.exactly(length)?))
    }

    pub fn send(&self, stream: &mut ProbeStream) -> Result<(), String> {
        let mut bytes = (self.body.len() as u32).to_le_bytes()[..3].to_vec();
        bytes.push(self.number);
        bytes.extend_from_slice(&self.body);
        stream.send(&bytes)
    }
}

/// The version of the server that greets, of the protocol's version 10.
pub fn greeting(body: &[u8]) -> Result<String, String> {
    match body.split_first() {
        Some((10, rest)) => {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(other)?;
            Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
        }
        Some((0xff, _)) => Err(refusal(body).1),
        _ => Err(other()),
    }
}

/// An error's code, and its words.
pub fn refusal(body: &[u8]) -> (u16, String) {
    let Some(([_, low, high], words)) = body.split_first_chunk() else {
        return (0, "it refuses without a word".to_owned());
    };
    let code = u16::from_le_bytes([*low, *high]);
    // The SQL state, `#08004`, is there once the server knows what its client can do.
    let words = match words.first() {
        Some(b'#') => words.get(6..).unwrap_or_default(),
        _ => words,
    };
    (code, format!("{} ({code})", String::from_utf8_lossy(words)))
}

/// HandshakeResponse41, without a password.
pub fn login(user: &str) -> Packet {
    let mut body = CAPABILITIES.to_le_bytes().to_vec();
    body.extend(LARGEST_PACKET.to_le_bytes());
    body.push(CHARACTERS);
    body.extend([0; 23]);
    body.extend_from_slice(user.as_bytes());
    // Its end, and the length of the proof.
    body.extend([0, 0]);
    body.extend_from_slice(b"mysql_native_password\0");
    Packet::new(1, body)
}

fn other() -> String {
    "it does not speak MySQL's protocol".to_owned()
}
