//! Whether an answer goes to its client compressed, and what its head then says (RFC 9110, 8.4, 12.5.3). Never what must
//! stay as it is: parts, what has a coding already, and what `no-transform` forbids.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderName, Method, StatusCode, Version};

use super::respond::Answer;
use crate::config::checked::{Coding, Compression};
use crate::http::fields::tokens;
use crate::http::{Fields, RequestHead};

/// They speak of the bytes as they were.
const OF_THE_BYTES: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// The answer to HEAD says what GET's would.
pub fn compress(settings: &Compression, request: &RequestHead, mut answer: Answer) -> Answer {
    if !may_be(settings, request, &answer) {
        return answer;
    }
    let fields = &mut answer.head.fields;
    if !fields.lists(&VARY, "accept-encoding") && !fields.lists(&VARY, "*") {
        fields.append(&VARY, "Accept-Encoding");
    }
    let Some(coding) = wanted(&settings.codings, &request.fields) else {
        return answer;
    };
    fields.set(&CONTENT_ENCODING, coding.name());
    fields.remove(&CONTENT_LENGTH);
    fields.remove(&ACCEPT_RANGES);
    OF_THE_BYTES.iter().for_each(|name| {
        fields.remove(name);
    });
    // Other bytes than the server's under its tag (RFC 9110, 8.8.1).
    if let Some(tag) = fields.first(&ETAG).filter(|tag| tag.starts_with(b"\"")) {
        let weak = [b"W/", tag].concat();
        fields.set(&ETAG, weak);
    }
    if request.method != Method::HEAD {
        answer.body = std::mem::take(&mut answer.body).compressed(coding, settings.level(coding));
    }
    answer
}

fn may_be(settings: &Compression, request: &RequestHead, answer: &Answer) -> bool {
    let fields = &answer.head.fields;
    let status = answer.head.status;
    let bare = status.is_informational()
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        );
    // HTTP/1.0 knows no chunks.
    !bare
        && answer.tunnel.is_none()
        && request.version != Version::HTTP_10
        && !fields.contains(&CONTENT_ENCODING)
        && !fields.contains(&CONTENT_RANGE)
        && !fields.lists(&CACHE_CONTROL, "no-transform")
        && !request.fields.lists(&CACHE_CONTROL, "no-transform")
        && is_long_enough(settings, request, answer)
        && fields
            .first(&CONTENT_TYPE)
            .is_some_and(|kind| is_of(&settings.types, kind))
}

/// A stream is.
fn is_long_enough(settings: &Compression, request: &RequestHead, answer: &Answer) -> bool {
    let length = match request.method {
        Method::HEAD => answer
            .head
            .fields
            .first(&CONTENT_LENGTH)
            .and_then(|length| std::str::from_utf8(length).ok()?.parse().ok()),
        _ => answer.body.length(),
    };
    length.is_none_or(|length| length > 0 && length >= settings.min_size)
}

/// `text/html` or `text/*`, whatever the parameters and the letter case.
fn is_of(types: &[String], kind: &[u8]) -> bool {
    let end = kind.iter().position(|b| *b == b';').unwrap_or(kind.len());
    let kind = kind[..end].trim_ascii();
    types.iter().any(|known| match known.strip_suffix('*') {
        Some(range) => {
            kind.len() > range.len() && kind[..range.len()].eq_ignore_ascii_case(range.as_bytes())
        }
        None => kind.eq_ignore_ascii_case(known.as_bytes()),
    })
}

/// The coding that the client likes best, of equals the first in our order; None: as it is.
fn wanted(codings: &[Coding], request: &Fields) -> Option<Coding> {
    let accepted = request.joined(&ACCEPT_ENCODING)?;
    let weights = |coding: &[&str]| {
        let weighed = tokens(&accepted).map(weighed);
        let (mut own, mut any) = (None, None);
        for (name, weight) in weighed {
            if coding
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
            {
                own = own.or(Some(weight));
            } else if name == b"*" {
                any = any.or(Some(weight));
            }
        }
        (own, any)
    };
    // What is not named at all is the last choice.
    let plain = weights(&["identity"]).0.unwrap_or(0);
    let mut best = None;
    for coding in codings {
        let (own, any) = weights(names(*coding));
        let weight = own.or(any).unwrap_or(0);
        if weight > 0 && weight >= plain && best.is_none_or(|(_, most)| weight > most) {
            best = Some((*coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

fn names(coding: Coding) -> &'static [&'static str] {
    match coding {
        Coding::Gzip => &["gzip", "x-gzip"],
        Coding::Brotli => &["br"],
        Coding::Zstd => &["zstd"],
    }
}

/// A coding's name and its weight in thousandths (RFC 9110, 12.4.2); what can't be read is 0, refused.
fn weighed(item: &[u8]) -> (&[u8], u32) {
    let mut parts = item.split(|b| *b == b';');
    let name = parts.next().unwrap_or_default().trim_ascii();
    let weight = parts.find_map(|part| {
        let part = part.trim_ascii();
        part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="))
    });
    let thousandths = |text: &[u8]| {
        let number: f32 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
        (0.0..=1.0)
            .contains(&number)
            .then_some((number * 1000.0) as u32)
    };
    let weight = weight.map_or(1000, |text| thousandths(text).unwrap_or(0));
    (name, weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Zstd};

    fn choice(accepted: &str) -> Option<Coding> {
        let mut fields = Fields::new();
        fields.set(&ACCEPT_ENCODING, accepted);
        wanted(&[Zstd, Brotli, Gzip], &fields)
    }

    #[test]
    fn the_client_chooses_and_then_our_order() {
        assert_eq!(choice("gzip, br, zstd"), Some(Zstd));
        assert_eq!(choice("gzip, br;q=0.9"), Some(Gzip));
        assert_eq!(choice("GZIP;q=0.5, br;Q=0.501"), Some(Brotli));
        assert_eq!(choice("x-gzip"), Some(Gzip));
        assert_eq!(choice("*"), Some(Zstd));
        assert_eq!(choice("zstd;q=0, *"), Some(Brotli));
        assert_eq!(choice("*;q=0, gzip;q=0.1"), Some(Gzip));
    }

    #[test]
    fn who_wants_none_gets_none() {
        for accepted in [
            "",
            "identity",
            "deflate",
            "gzip;q=0",
            "gzip;q=nonsense",
            "gzip;q=2",
            "identity, gzip;q=0.5",
            "*;q=0",
        ] {
            assert_eq!(choice(accepted), None, "{accepted:?}");
        }
        assert_eq!(wanted(&[Gzip], &Fields::new()), None);
    }

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        let types = ["text/*".to_owned(), "application/json".to_owned()];
        let is = |kind: &str| is_of(&types, kind.as_bytes());
        assert!(is("text/html; charset=utf-8") && is("TEXT/css") && is("application/JSON ;a=b"));
        assert!(!is("text/") && !is("image/png") && !is("application/json2") && !is(""));
    }
}
