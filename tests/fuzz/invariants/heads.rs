//! Heads.

use std::fmt::Debug;
use std::ops::Range;

use super::Splits;
use super::plain::{Head, is_token};
use crate::h1::head::{
    self, FieldAt, Framing, MOST_FIELDS, MOST_TARGET, Refused, RequestIndex, ResponseIndex, Version,
};

pub fn request_head(bytes: &[u8], splits: Splits) {
    let whole = read(head::request, bytes);
    for split in splits.of(bytes) {
        check_begun(
            &read(head::request, &bytes[..split]),
            split,
            &whole,
            |index| index.end,
        );
    }
    if let Ok(Some((index, fields))) = whole {
        check_request(bytes, &index, &fields);
    }
}

pub fn response_head(bytes: &[u8], splits: Splits) {
    let whole = read(head::response, bytes);
    for split in splits.of(bytes) {
        check_begun(
            &read(head::response, &bytes[..split]),
            split,
            &whole,
            |index| index.end,
        );
    }
    if let Ok(Some((index, fields))) = whole {
        check_response(bytes, &index, &fields);
    }
}

type Reader<T> = fn(&[u8], &mut Vec<FieldAt>) -> Result<Option<T>, Refused>;
type Verdict<T> = Result<Option<(T, Vec<FieldAt>)>, Refused>;

fn read<T>(reader: Reader<T>, bytes: &[u8]) -> Verdict<T> {
    let mut fields = Vec::new();
    let read = reader(bytes, &mut fields)?;
    Ok(read.map(|index| (index, fields)))
}

/// What was said of the first bytes stands when more have come, and what is whole was not whole before its end.
fn check_begun<T: PartialEq + Debug>(
    begun: &Verdict<T>,
    split: usize,
    whole: &Verdict<T>,
    end: impl Fn(&T) -> usize,
) {
    match (begun, whole) {
        (Ok(None), Ok(Some((index, _)))) => assert!(split < end(index), "not whole at {split}"),
        (Ok(None), _) => {}
        _ => assert_eq!(begun, whole, "at {split}"),
    }
}

fn check_request(bytes: &[u8], index: &RequestIndex, fields: &[FieldAt]) {
    let head = &bytes[..index.end];
    let plain = Head::of(head.strip_prefix(b"\r\n").unwrap_or(head));
    check_fields(head, &plain, fields);
    check_framing(&plain, index.framing, index.version);
    let [method, target, version] = plain.first[..] else {
        panic!("a request line of {} words", plain.first.len());
    };
    assert_eq!(part(head, &index.method), method);
    assert!(
        method
            .iter()
            .all(|byte| is_token(*byte) && !byte.is_ascii_lowercase())
            && !method.is_empty()
    );
    assert_eq!(version, version_text(index.version));
    assert!(
        target.len() <= MOST_TARGET
            && target
                .iter()
                .all(|byte| byte.is_ascii_graphic() && *byte != b'#')
    );
    check_target(head, index, target);
    check_host(head, index, &plain);
    assert_eq!(index.keep_alive, keeps(&plain, index.version));
    let expectations = plain.all("expect");
    assert!(
        expectations
            .iter()
            .all(|value| value.eq_ignore_ascii_case(b"100-continue"))
    );
    assert_eq!(
        index.expects,
        !expectations.is_empty() && index.version == Version::Http11
    );
    check_written_again(bytes, index, fields);
}

fn check_response(bytes: &[u8], index: &ResponseIndex, fields: &[FieldAt]) {
    let head = &bytes[..index.end];
    let plain = Head::of(head);
    check_fields(head, &plain, fields);
    check_framing(&plain, index.framing, index.version);
    assert_eq!(plain.first[0], version_text(index.version));
    assert_eq!(plain.first[1], index.status.to_string().as_bytes());
    assert!((100..=599).contains(&index.status));
    let reason = plain.first.get(2).copied().unwrap_or_default();
    let kept = if reason.is_ascii() { reason } else { b"" };
    assert_eq!(part(head, &index.reason), kept);
    assert_eq!(index.keep_alive, keeps(&plain, index.version));
    // Written anew with single blanks, it reads the same.
    let mut again = [
        version_text(index.version),
        b" ",
        plain.first[1],
        b" ",
        kept,
        b"\r\n",
    ]
    .concat();
    write_fields(head, fields, &mut again);
    again.extend_from_slice(b"\r\n");
    let mut fields_again = Vec::new();
    let read = head::response(&again, &mut fields_again)
        .expect("it was accepted")
        .expect("it is whole");
    assert_eq!(
        (read.end, read.status, read.framing, read.keep_alive),
        (again.len(), index.status, index.framing, index.keep_alive)
    );
    assert_eq!(shown(&again, &fields_again), shown(head, fields));
}

/// The same names and values in the same order, each lying where it should.
fn check_fields(head: &[u8], plain: &Head<'_>, fields: &[FieldAt]) {
    assert!(fields.len() <= MOST_FIELDS);
    assert_eq!(shown(head, fields), plain.fields);
    let mut end = 0;
    for field in fields {
        assert!(
            end <= field.name.start && field.name.end < field.value.start + 1,
            "{field:?} behind {end}"
        );
        end = field.value.end;
    }
    assert!(end as usize <= head.len());
}

/// One way to tell where the body ends, and the one that the fields say (RFC 9112, 6.3).
fn check_framing(plain: &Head<'_>, framing: Framing, version: Version) {
    let (lengths, codings) = (plain.all("content-length"), plain.all("transfer-encoding"));
    match framing {
        Framing::Unsaid => assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(length) => {
            let [text] = lengths[..] else {
                panic!("{} lengths", lengths.len())
            };
            assert!(codings.is_empty() && text.iter().all(u8::is_ascii_digit));
            let text = std::str::from_utf8(text).expect("digits are UTF-8");
            assert_eq!(text.parse(), Ok(length));
            assert!(i64::try_from(length).is_ok());
        }
        Framing::Chunked => {
            let [coding] = codings[..] else {
                panic!("{} codings", codings.len())
            };
            assert!(lengths.is_empty() && coding.eq_ignore_ascii_case(b"chunked"));
            assert_eq!(version, Version::Http11);
        }
    }
    let alike = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        name == b"content_length" || name == b"transfer_encoding"
    };
    assert!(!plain.fields.iter().any(|(name, _)| alike(name)));
}

fn check_target(head: &[u8], index: &RequestIndex, target: &[u8]) {
    let path = part(head, &index.target);
    match &index.authority {
        Some(authority) => {
            let authority = part(head, authority);
            assert!(target.ends_with(&[b"//", authority, path].concat()));
            assert!(path.is_empty() || matches!(path[0], b'/' | b'?'));
        }
        None => {
            assert_eq!(path, target);
            assert!(path[0] == b'/' || path == b"*");
        }
    }
}

fn check_host(head: &[u8], index: &RequestIndex, plain: &Head<'_>) {
    let hosts = plain.all("host");
    assert!(hosts.len() <= 1 && (hosts.len() == 1 || index.version == Version::Http10));
    assert_eq!(
        index.host.as_ref().map(|host| part(head, host)),
        hosts.first().copied()
    );
    for host in hosts
        .iter()
        .copied()
        .chain(index.authority.as_ref().map(|at| part(head, at)))
    {
        let wrong = |byte: &u8| !byte.is_ascii_graphic() || b"/\\@?#,\"<>{}|^`".contains(byte);
        assert!(
            !host.is_empty() && host[0] != b':' && !host.iter().any(wrong),
            "host {:?}",
            host.escape_ascii().to_string()
        );
    }
    if let (Some(host), Some(authority)) = (hosts.first(), &index.authority) {
        assert!(host.eq_ignore_ascii_case(part(head, authority)));
    }
}

/// RFC 9112, 9.3.
fn keeps(plain: &Head<'_>, version: Version) -> bool {
    let says = |token: &[u8]| {
        let values = plain.all("connection");
        values.iter().any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|element| element.trim_ascii().eq_ignore_ascii_case(token))
        })
    };
    !says(b"close") && (version == Version::Http11 || says(b"keep-alive"))
}

/// Written anew in the origin form, with single blanks, it reads the same.
fn check_written_again(head: &[u8], index: &RequestIndex, fields: &[FieldAt]) {
    let target = part(head, &index.target);
    let slash: &[u8] = if target.is_empty() || target[0] == b'?' {
        b"/"
    } else {
        b""
    };
    let mut again = [
        part(head, &index.method),
        b" ",
        slash,
        target,
        b" ",
        version_text(index.version),
        b"\r\n",
    ]
    .concat();
    write_fields(head, fields, &mut again);
    again.extend_from_slice(b"\r\n");
    let mut fields_again = Vec::new();
    let read = match head::request(&again, &mut fields_again) {
        Ok(Some(read)) => read,
        // The slash is one byte more.
        Err(Refused::TargetTooLong) if target.len() + slash.len() > MOST_TARGET => return,
        other => panic!("{other:?} of {:?}", again.escape_ascii().to_string()),
    };
    assert_eq!(read.end, again.len());
    assert_eq!(
        (read.version, read.framing, read.keep_alive, read.expects),
        (
            index.version,
            index.framing,
            index.keep_alive,
            index.expects
        )
    );
    assert_eq!(shown(&again, &fields_again), shown(head, fields));
}

fn write_fields(head: &[u8], fields: &[FieldAt], out: &mut Vec<u8>) {
    for field in fields {
        out.extend_from_slice(
            &[
                part(head, &field.name),
                b": ",
                part(head, &field.value),
                b"\r\n",
            ]
            .concat(),
        );
    }
}

fn shown<'a>(head: &'a [u8], fields: &[FieldAt]) -> Vec<(&'a [u8], &'a [u8])> {
    fields
        .iter()
        .map(|field| (part(head, &field.name), part(head, &field.value)))
        .collect()
}

/// Panics when it lies outside.
fn part<'a>(head: &'a [u8], at: &Range<u32>) -> &'a [u8] {
    &head[at.start as usize..at.end as usize]
}

fn version_text(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}
