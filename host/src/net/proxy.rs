//! The PROXY protocol (haproxy.org, `doc/proxy-protocol.txt`): one line of text (v1) or a binary header (v2) before a
//! connection's first byte, in which a proxy says whose connection it is. Read within bounds and never a byte too far, so that
//! what follows may be anything; written for servers that want to know the same.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Section 2.1: the longest line, its end included.
const LONGEST_LINE: usize = 107;

/// Of what follows a v2 header's first 16 bytes. HAProxy's and AWS's have some hundred; a buffer is not for sale.
const LONGEST_REST: usize = 4 << 10;

/// Section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;

/// Section 2.2.2: a host name has no more.
const LONGEST_NAME: usize = 255;

/// What the proxy before us says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Client, and where it connected to. None: the proxy speaks for itself (`LOCAL`, `UNKNOWN`), or of no address of IP.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The TLS server name (`PP2_TYPE_AUTHORITY`).
    pub server_name: Option<Box<str>>,
    pub alpn: Option<Box<str>>,
}

/// Which form is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What there is instead of a header.
#[derive(Debug)]
pub enum Unread {
    /// No header, or a broken one.
    Malformed,
    /// The connection broke or ended.
    Closed,
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Unread {
        Unread::Closed
    }
}

/// Reads one header of either version, and not a byte of what follows it. Without a deadline: the caller has one.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Said, Unread> {
    // Either form has at least 15 bytes.
    let mut begin = [0; SIGNATURE.len()];
    read_as(from, &mut begin, |at, byte| {
        byte == SIGNATURE[at] || b"PROXY ".get(at).is_none_or(|p| *p == byte)
    })
    .await?;
    if begin == *SIGNATURE {
        return read_v2(from).await;
    }
    if begin.starts_with(b"PROXY ") {
        return read_v1(from, &begin).await;
    }
    Err(Unread::Malformed)
}

/// Fills `into`; ends at the first byte that can't be. A client that speaks something else would wait for an answer for as long
/// as we wait for more.
async fn read_as(
    from: &mut (impl AsyncRead + Unpin),
    into: &mut [u8],
    may_be: impl Fn(usize, u8) -> bool,
) -> Result<(), Unread> {
    let mut have = 0;
    while have < into.len() {
        let read = from.read(&mut into[have..]).await?;
        if read == 0 {
            return Err(Unread::Closed);
        }
        let fits = (have..have + read).all(|at| may_be(at, into[at]));
        if !fits {
            return Err(Unread::Malformed);
        }
        have += read;
    }
    Ok(())
}

/// The rest of a line, byte by byte: it ends where what follows begins.
async fn read_v1(from: &mut (impl AsyncRead + Unpin), begin: &[u8]) -> Result<Said, Unread> {
    let mut line = begin.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == LONGEST_LINE {
            return Err(Unread::Malformed);
        }
        line.push(from.read_u8().await?);
    }
    let line = line.strip_suffix(b"\r\n").ok_or(Unread::Malformed)?;
    parse_v1(line).ok_or(Unread::Malformed)
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, single blanks between; or `PROXY UNKNOWN` and whatever.
fn parse_v1(line: &[u8]) -> Option<Said> {
    let line = str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Said::default());
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let [family, source, destination, from, to] = words.try_into().ok()?;
    let address = |ip: &str, written: &str| -> Option<SocketAddr> {
        let ip: IpAddr = match family {
            "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let port: u16 = written.parse().ok()?;
        // No sign, no leading zeros.
        (port.to_string() == written).then(|| SocketAddr::new(ip, port))
    };
    Some(Said {
        addresses: Some((address(source, from)?, address(destination, to)?)),
        ..Said::default()
    })
}

async fn read_v2(from: &mut (impl AsyncRead + Unpin)) -> Result<Said, Unread> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let [kind, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind >> 4 != 2 || length > LONGEST_REST {
        return Err(Unread::Malformed);
    }
    let mut rest = vec![0; length];
    from.read_exact(&mut rest).await?;
    match kind & 0xf {
        // LOCAL: the proxy itself, for a health check; what it says of addresses is to be left alone.
        0 => Ok(Said::default()),
        1 => parse_v2(&head, &rest).ok_or(Unread::Malformed),
        _ => Err(Unread::Malformed),
    }
}

fn parse_v2(head: &[u8; 4], rest: &[u8]) -> Option<Said> {
    let (addresses, rest_at) = match head[1] {
        0x11 => (Some(v4_addresses(rest)?), 12),
        0x21 => (Some(v6_addresses(rest)?), 36),
        // UNSPEC: there may be options all the same, but nothing tells where they begin.
        0x00 => (None, rest.len()),
        // UNIX: two paths, which are of no use here.
        0x31 => (None, 216),
        // Datagrams are no connections.
        _ => return None,
    };
    let mut said = Said {
        addresses,
        ..Said::default()
    };
    let mut options = rest.get(rest_at..)?;
    while !options.is_empty() {
        let (kind, value, more) = option(options)?;
        let at = rest.len() - options.len();
        match kind {
            ALPN => said.alpn = Some(text(value)?),
            AUTHORITY => said.server_name = Some(text(value)?),
            CRC32C => is_sound(head, rest, at, value).then_some(())?,
            _ => {}
        }
        options = more;
    }
    Some(said)
}

fn v4_addresses(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = bytes.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (from, to) = ports(rest)?;
    Some((
        (Ipv4Addr::from(*source), from).into(),
        (Ipv4Addr::from(*destination), to).into(),
    ))
}

fn v6_addresses(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = bytes.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (from, to) = ports(rest)?;
    Some((
        (Ipv6Addr::from(*source), from).into(),
        (Ipv6Addr::from(*destination), to).into(),
    ))
}

fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let (from, rest) = bytes.split_first_chunk::<2>()?;
    let to = rest.first_chunk::<2>()?;
    Some((u16::from_be_bytes(*from), u16::from_be_bytes(*to)))
}

/// Type, value, and what follows.
fn option(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<3>()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, more) = rest.split_at_checked(length)?;
    Some((*kind, value, more))
}

/// A name as it may be shown and compared: what is not printable ASCII no client means.
fn text(value: &[u8]) -> Option<Box<str>> {
    let sane = value.len() <= LONGEST_NAME && value.iter().all(u8::is_ascii_graphic);
    let text = str::from_utf8(value).ok().filter(|_| sane)?;
    Some(text.to_ascii_lowercase().into())
}

/// Section 2.2.3: the sum over the whole header, its own four bytes taken for zero. `at`: where its option begins.
fn is_sound(head: &[u8; 4], rest: &[u8], at: usize, value: &[u8]) -> bool {
    let Ok(stated) = <[u8; 4]>::try_from(value) else {
        return false;
    };
    let mut whole = [SIGNATURE.as_slice(), head, rest].concat();
    let own = SIGNATURE.len() + head.len() + at + 3;
    whole[own..own + 4].fill(0);
    crc32c(&whole) == u32::from_be_bytes(stated)
}

/// Castagnoli's polynomial, reflected (RFC 3720, B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
    let add = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, add)
}

/// The header that tells a server of this client; None: the connection is our own. Port 0 stands for no address of IP, and is
/// told as unknown.
pub fn written(version: Version, said: Option<&Said>) -> Vec<u8> {
    let addresses = said.and_then(|said| said.addresses);
    let known = addresses.filter(|(source, _)| source.port() != 0);
    match (version, said) {
        (Version::V1, _) => written_v1(known),
        (Version::V2, Some(said)) => written_v2(known, said),
        // LOCAL, of no family and without a length: servers take it for a health check (section 2.2).
        (Version::V2, None) => [SIGNATURE.as_slice(), &[0x20, 0, 0, 0]].concat(),
    }
}

fn written_v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addresses.map(of_one_family) else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    let (source, destination) = (source.ip(), destination.ip());
    format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
}

fn written_v2(addresses: Option<(SocketAddr, SocketAddr)>, said: &Said) -> Vec<u8> {
    let mut rest = Vec::with_capacity(64);
    let family = match addresses.map(of_one_family) {
        Some((source, destination)) => {
            for ip in [source.ip(), destination.ip()] {
                match ip {
                    IpAddr::V4(ip) => rest.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => rest.extend_from_slice(&ip.octets()),
                }
            }
            rest.extend_from_slice(&source.port().to_be_bytes());
            rest.extend_from_slice(&destination.port().to_be_bytes());
            if source.is_ipv4() { 0x11 } else { 0x21 }
        }
        None => 0x00,
    };
    // Behind no address nothing tells where options begin.
    if family != 0 {
        write_option(&mut rest, ALPN, said.alpn.as_deref());
        write_option(&mut rest, AUTHORITY, said.server_name.as_deref());
    }
    let length = (rest.len() as u16).to_be_bytes();
    let head = [0x21, family, length[0], length[1]];
    [SIGNATURE.as_slice(), &head, &rest].concat()
}

fn write_option(out: &mut Vec<u8>, kind: u8, value: Option<&str>) {
    if let Some(value) = value.filter(|value| value.len() <= LONGEST_NAME) {
        out.push(kind);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
}

/// A header has one family: an IPv4 address beside one of IPv6 is written as mapped (RFC 4291, 2.5.5.2).
fn of_one_family((a, b): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    if a.is_ipv4() == b.is_ipv4() {
        (a, b)
    } else {
        (mapped(a), mapped(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, and what is left.
    async fn read_of(bytes: &[u8]) -> (Result<Said, Unread>, Vec<u8>) {
        let mut left = bytes;
        let said = read(&mut left).await;
        (said, left.to_vec())
    }

    async fn refused(bytes: &[u8]) -> bool {
        matches!(read_of(bytes).await.0, Err(Unread::Malformed))
    }

    fn of(source: &str, destination: &str) -> Said {
        Said {
            addresses: Some((source.parse().unwrap(), destination.parse().unwrap())),
            ..Said::default()
        }
    }

    #[tokio::test]
    async fn a_line_is_read_and_nothing_behind_it() {
        let (said, left) = read_of(b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\nGET /").await;
        assert_eq!(said.unwrap(), of("192.0.2.7:40000", "10.0.0.1:443"));
        assert_eq!(left, b"GET /");
        let (said, _) = read_of(b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n").await;
        assert_eq!(said.unwrap(), of("[2001:db8::7]:1", "[::1]:65535"));
        for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ff::1 x 1 y\r\n"] {
            assert_eq!(
                read_of(unknown.as_bytes()).await.0.unwrap(),
                Said::default()
            );
        }
    }

    #[tokio::test]
    async fn a_line_that_is_none_is_refused() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE));
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000 443 \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 040 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +40 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40 65536\r\n",
            "PROXY TCP4 ::1 10.0.0.1 40 443\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 40 443\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 40 443\r\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 40 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40 443\n",
            "PROXY UNKNOWNX\r\n",
            &longest,
        ] {
            assert!(refused(line.as_bytes()).await, "{line:?}");
        }
        assert!(
            refused(b"\r\n\r\nGET").await,
            "at the first byte that can't be"
        );
        assert!(matches!(
            read_of(b"PROXY TCP4 1").await.0,
            Err(Unread::Closed)
        ));
    }

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        for (source, destination) in [
            ("192.0.2.7:40000", "10.0.0.1:443"),
            ("[2001:db8::7]:40000", "[::1]:443"),
        ] {
            let mut said = of(source, destination);
            let line = written(Version::V1, Some(&said));
            assert_eq!(read_of(&line).await.0.unwrap(), said);
            said.server_name = Some("example.com".into());
            said.alpn = Some("h2".into());
            let header = [written(Version::V2, Some(&said)), b"more".to_vec()].concat();
            let (again, left) = read_of(&header).await;
            assert_eq!((again.unwrap(), left.as_slice()), (said, &b"more"[..]));
        }
        let mixed = written(Version::V1, Some(&of("192.0.2.7:1", "[::1]:2")));
        assert_eq!(mixed, b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n");
        let nobody = of("127.0.0.1:0", "127.0.0.1:0");
        let command = SIGNATURE.len();
        for (said, first) in [(Some(&nobody), 0x21), (None, 0x20)] {
            assert_eq!(written(Version::V1, said), b"PROXY UNKNOWN\r\n");
            let header = written(Version::V2, said);
            assert_eq!(
                header[command], first,
                "PROXY for clients, LOCAL for ourselves"
            );
            assert_eq!(read_of(&header).await.0.unwrap(), Said::default());
        }
    }

    /// A v2 header of this command, family and rest.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        let head = [command, family, length[0], length[1]];
        [SIGNATURE.as_slice(), &head, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 187];

    #[tokio::test]
    async fn a_local_command_says_nothing_of_a_client() {
        for rest in [&V4[..], &[], &[1, 2, 3]] {
            let (said, left) = read_of(&header(0x20, 0x11, rest)).await;
            assert_eq!((said.unwrap(), left.len()), (Said::default(), 0));
        }
        let unix = read_of(&header(0x21, 0x31, &[0; 216])).await.0;
        assert_eq!(unix.unwrap(), Said::default());
    }

    #[tokio::test]
    async fn a_header_that_is_none_is_refused() {
        let with = |options: &[u8]| header(0x21, 0x11, &[&V4[..], options].concat());
        assert!(read_of(&with(&[0xee, 0, 1, 9])).await.0.is_ok(), "unknown");
        for broken in [
            header(0x11, 0x11, &V4),
            header(0x22, 0x11, &V4),
            header(0x21, 0x12, &V4),
            header(0x21, 0x11, &V4[..11]),
            header(0x21, 0x21, &V4),
            header(0x21, 0x31, &[0; 215]),
            header(0x21, 0x00, &[0; LONGEST_REST + 1]),
            with(&[AUTHORITY, 0]),
            with(&[AUTHORITY, 0, 2, b'a']),
            with(&[AUTHORITY, 0, 2, b'a', b'\n']),
            with(&[CRC32C, 0, 4, 1, 2, 3, 4]),
            with(&[CRC32C, 0, 3, 1, 2, 3]),
        ] {
            assert!(refused(&broken).await, "{broken:?}");
        }
    }

    #[tokio::test]
    async fn a_sum_is_checked() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut whole = header(0x21, 0x11, &[&V4[..], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat());
        let sum = crc32c(&whole).to_be_bytes();
        let at = whole.len() - 4;
        whole[at..].copy_from_slice(&sum);
        assert!(read_of(&whole).await.0.is_ok());
        whole[17] ^= 1;
        assert!(refused(&whole).await);
    }
}
